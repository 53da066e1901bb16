"""A step of DP-SGD on TensorFlow and on JAX: the gradient of each row apart, cut, summed, noised.

Abadi et al. (2016), "Deep learning with differential privacy", algorithm 1, with Poisson sampling and a sum that is
divided by the expected batch. The noise is drawn on the host, so that it is the same on every backend.
"""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common.seeds import rng
from tfpdu.diffusion.compiled import JaxState, Loss, has_gpu, pure, wired
from tfpdu.diffusion.poisson import PoissonBatch
from tfpdu.diffusion.private import Privacy

PrivateStep = Callable[[PoissonBatch, float], tuple[float, float]]


def private_step(
    network: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    loss: Loss,
    privacy: Privacy,
) -> PrivateStep:
    """A step of private training.

    Args:
      network, optimiser, averages, loss: as in `tfpdu.diffusion.compiled.training_step`.
      privacy: clipping norm, noise multiplier and expected batch.

    Returns:
      (batch, beta) -> (sum of the rows' losses / expected batch, norm of the noisy gradient). The first is not private.

    Raises:
      UserError: Keras runs on a backend whose gradients are not wired here.
    """
    step = wired(tensorflow=_tensorflow_step, jax=_jax_step)
    return step(network, optimiser, averages, loss, privacy)


def noises(batch: PoissonBatch, weights: Sequence[Any], deviation: float) -> list[np.ndarray]:
    """The step's noise, one float32 array per weight: normal, with this standard deviation, keyed by the batch."""
    draw = rng(*batch.key)
    return [np.float32(deviation) * draw.standard_normal(tuple(w.shape), dtype=np.float32) for w in weights]


def cut(gradients: Sequence[Any], present: Any, clip_norm: float) -> list[Any]:
    """Sums rows' gradients, each cut to `clip_norm` over all weights together.

    Args:
      gradients: per weight float32[rows, ...]. A row with a value that is not finite counts as zero.
      present: float32[rows]; 0 leaves a row out.
      clip_norm: C.

    Returns:
      Per weight float32[...]; adding or removing one row changes their joint norm by at most C.
    """
    flat = [ops.reshape(gradient, (gradient.shape[0], -1)) for gradient in gradients]  # (rows, parameters)
    squares = functools.reduce(ops.add, [ops.sum(ops.square(gradient), axis=1) for gradient in flat])
    norms = ops.sqrt(squares)  # (rows,)
    finite = ops.isfinite(norms)
    scale = ops.where(finite, present * ops.minimum(1.0, clip_norm / (norms + 1e-12)), 0.0)
    kept = [ops.where(ops.expand_dims(finite, 1), gradient, 0.0) for gradient in flat]
    # Not a matrix product, which some GPUs round to 10 bits: then the sum would be longer than C allows.
    sums = [ops.sum(ops.expand_dims(scale, 1) * gradient, axis=0) for gradient in kept]
    return [ops.reshape(total, gradient.shape[1:]) for total, gradient in zip(sums, gradients, strict=True)]


def _tensorflow_step(
    network: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    loss: Loss,
    privacy: Privacy,
) -> PrivateStep:
    import tensorflow as tf

    variables = network.trainable_variables
    weights = [variable.value for variable in variables]
    totals = [tf.Variable(tf.zeros(weight.shape, tf.float32), trainable=False) for weight in weights]

    def row(tensors: Any) -> Any:
        mean = tf.reduce_mean(loss(*tensors))
        return mean, tf.gradients(mean, weights, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE)

    @tf.function(autograph=False, jit_compile=has_gpu(tf))
    def add(tensors: Any, present: Any) -> Any:
        means, gradients = tf.vectorized_map(row, tensors)
        for total, part in zip(totals, cut(gradients, present, privacy.clip_norm), strict=True):
            total.assign_add(part)
        return tf.reduce_sum(means * present)

    @tf.function(autograph=False, jit_compile=has_gpu(tf))
    def update(noise: Any, beta: Any) -> Any:
        pairs = zip(totals, noise, strict=True)
        gradients = [(total + disturbance) / privacy.expected_batch for total, disturbance in pairs]
        optimiser.apply(gradients, variables)
        for average, weight in zip(averages, variables, strict=True):
            average.assign(average + (1 - beta) * (weight - average))
        for total in totals:
            total.assign(tf.zeros_like(total))
        return tf.linalg.global_norm(gradients)

    def run(batch: PoissonBatch, beta: float) -> tuple[float, float]:
        lost = 0.0
        for chunk in batch.chunks:
            with _quiet(tf):
                lost += float(add(tuple(map(tf.constant, chunk.copies.tensors())), tf.constant(chunk.present)))
        noise = noises(batch, weights, privacy.noise_multiplier * privacy.clip_norm)
        norm = update([tf.constant(part) for part in noise], tf.constant(np.float32(beta)))
        return lost / privacy.expected_batch, float(norm)

    return run


def _jax_step(
    network: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    loss: Loss,
    privacy: Privacy,
) -> PrivateStep:
    import jax

    held = JaxState(network, optimiser, averages)
    losses = pure(loss, network.trainable_variables)

    def row(weights: Any, tensors: Any) -> Any:
        return ops.mean(losses(weights, *tensors))

    @functools.partial(jax.jit, donate_argnums=1)
    def add(weights: Any, totals: Any, tensors: Any, present: Any) -> Any:
        means, gradients = jax.vmap(jax.value_and_grad(row), in_axes=(None, 0))(weights, tensors)
        parts = cut(gradients, present, privacy.clip_norm)
        return [total + part for total, part in zip(totals, parts, strict=True)], ops.sum(means * present)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state: Any, totals: Any, noise: Any, beta: Any) -> Any:
        pairs = zip(totals, noise, strict=True)
        gradients = [(total + disturbance) / privacy.expected_batch for total, disturbance in pairs]
        norm = ops.sqrt(functools.reduce(ops.add, [ops.sum(ops.square(gradient)) for gradient in gradients]))
        return held.updated(state, gradients, beta), norm

    def run(batch: PoissonBatch, beta: float) -> tuple[float, float]:
        state, lost = held.take(), 0.0
        totals: Any = [jax.numpy.zeros(weight.shape) for weight in state[0]]
        for chunk in batch.chunks:
            totals, part = add(state[0], totals, chunk.copies.tensors(), chunk.present)
            lost += float(part)
        noise = noises(batch, state[0], privacy.noise_multiplier * privacy.clip_norm)
        state, norm = update(state, totals, noise, np.float32(beta))
        held.put(state)
        return lost / privacy.expected_batch, float(norm)

    return run


@contextmanager
def _quiet(tf: Any) -> Iterator[None]:
    """Hides TensorFlow's advice that a convolution's gradient is mapped by a loop; it is fast enough here."""
    logger = tf.get_logger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
