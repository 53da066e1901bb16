"""The one place that knows which backend Keras runs on: compiled functions, gradients and the training step.

The private step, `tfpdu.diffusion.private_step`, is built from the same parts.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common import UserError
from tfpdu.diffusion.batches import Batch

CLIP_NORM = 1.0  # of the gradient of the mean loss; ordinary steps stay well below

Loss = Callable[..., Any]  # (images uint8, noise, sigma, labels, attributes) -> losses float32[b]


def compiled(function: Callable[..., Any], *models: keras.Model) -> Callable[..., Any]:
    """Compiles a function of tensors where the backend gains by it.

    Args:
      function: of tensors alone; it may call models.
      *models: those it calls. Their weights may change between calls; under JAX, weights of a model that is not named
        here stay what they were at the first call.

    Under TensorFlow XLA is used on a GPU only: on a CPU it is slower.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, jit_compile=has_gpu(tf))
    if backend == "jax":
        import jax

        variables = [variable for model in models for variable in model.variables]
        call = jax.jit(pure(function, variables))
        return lambda *tensors: call([variable.value for variable in variables], *tensors)
    return function


def gradient_of(function: Callable[..., Any], *models: keras.Model) -> Callable[..., Any]:
    """The compiled gradient of a function of tensors with respect to its first argument.

    Args:
      function: (x float[b, ...], *tensors) -> float[b], where entry i depends on x[i] alone.
      *models: those it calls, see `compiled`.

    Returns:
      (x, *tensors) -> the gradient of entry i with respect to x[i], of the shape of x.

    Raises:
      UserError: Keras runs on a backend whose gradients are not wired here.
    """
    return compiled(wired(tensorflow=_tensorflow_gradient, jax=_jax_gradient)(function), *models)


def training_step(
    network: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    loss: Loss,
) -> Callable[[Batch, float], tuple[float, float]]:
    """A step of training: gradient, clipping, optimiser, moving average of the weights.

    Args:
      network: its trainable variables are updated.
      optimiser: built on those variables.
      averages: one variable per trainable variable, moved as a <- a + (1 - beta) (w - a).
      loss: (images uint8, noise, sigma, labels, attributes) -> losses float32[b].

    Returns:
      (batch, beta) -> (mean loss, gradient norm before clipping). After each call the variables hold the new state.

    Raises:
      UserError: Keras runs on a backend whose gradients are not wired here.
    """
    return wired(tensorflow=_tensorflow_step, jax=_jax_step)(network, optimiser, averages, loss)


def wired(**steps: Callable[..., Any]) -> Callable[..., Any]:
    """The step for the backend in use; raises `UserError` where there is none."""
    backend = keras.backend.backend()
    if backend not in steps:
        raise UserError(
            f"KERAS_BACKEND={backend}: the generator samples there, but trains and is steered on {' or '.join(steps)}"
        )
    return steps[backend]


def pure(function: Callable[..., Any], variables: Sequence[keras.Variable]) -> Callable[..., Any]:
    """(values, *arguments) -> function(*arguments), computed as if the variables had these values."""

    def call(values: Sequence[Any], *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function(*arguments)

    return call


class JaxState:
    """The arrays of weights, optimiser and averages, which a JAX step takes whole and gives back new.

    The step may overwrite the arrays it takes; nothing is copied, and the Keras variables always hold the latest.
    """

    def __init__(self, network: keras.Model, optimiser: keras.optimizers.Optimizer, averages: Sequence[keras.Variable]):
        import jax.numpy as jnp

        self._groups = [list(network.trainable_variables), list(optimiser.variables), list(averages)]
        for average in averages:  # a variable made from another one shares its array, which can be given away once
            average.assign(jnp.array(average.value, copy=True))
        self._optimiser = optimiser

    def take(self) -> list[list[Any]]:
        """[weights, optimiser's variables, averages]."""
        return [[variable.value for variable in group] for group in self._groups]

    def put(self, state: list[list[Any]]) -> None:
        """Makes these the variables' values."""
        for group, values in zip(self._groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def updated(self, state: list[list[Any]], gradients: Sequence[Any], beta: Any) -> list[list[Any]]:
        """The state after the optimiser's step and the averages'; a pure function of its arguments."""
        weights, moments, averages = state
        weights, moments = self._optimiser.stateless_apply(moments, list(gradients), weights)
        moved = [average + (1 - beta) * (weight - average) for average, weight in zip(averages, weights, strict=True)]
        return [list(weights), list(moments), moved]


def _tensorflow_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    def gradient(x: Any, *tensors: Any) -> Any:
        total = tf.reduce_sum(function(x, *tensors))
        tree = tf.AggregationMethod.EXPERIMENTAL_TREE  # for the same reason as in a step of training
        return tf.gradients(total, x, aggregation_method=tree)[0]

    return gradient


def _jax_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.grad(lambda x, *tensors: ops.sum(function(x, *tensors)))


def _tensorflow_step(
    network: keras.Model, optimiser: keras.optimizers.Optimizer, averages: Sequence[keras.Variable], loss: Loss
) -> Callable[[Batch, float], tuple[float, float]]:
    import tensorflow as tf

    weights = [variable.value for variable in network.trainable_variables]

    @tf.function(autograph=False, jit_compile=has_gpu(tf))
    def step(images: Any, noise: Any, sigma: Any, labels: Any, attributes: Any, beta: Any) -> Any:
        mean = tf.reduce_mean(loss(images, noise, sigma, labels, attributes))
        # Not a tape: it sums the gradients of a tensor with three or more uses in one AddN, and TensorFlow's AddN
        # starts with whichever term is ready to be overwritten. Sums of two have the same bits either way round.
        gradients = tf.gradients(mean, weights, aggregation_method=tf.AggregationMethod.EXPERIMENTAL_TREE)
        norm = tf.linalg.global_norm(gradients)
        scale = tf.minimum(1.0, CLIP_NORM / (norm + 1e-12))
        optimiser.apply([gradient * scale for gradient in gradients], network.trainable_variables)
        for average, weight in zip(averages, network.trainable_variables, strict=True):
            average.assign(average + (1 - beta) * (weight - average))
        return mean, norm

    def run(batch: Batch, beta: float) -> tuple[float, float]:
        mean, norm = step(*(tf.constant(tensor) for tensor in (*batch.tensors(), np.float32(beta))))
        return float(mean), float(norm)

    return run


def _jax_step(
    network: keras.Model, optimiser: keras.optimizers.Optimizer, averages: Sequence[keras.Variable], loss: Loss
) -> Callable[[Batch, float], tuple[float, float]]:
    import jax

    held = JaxState(network, optimiser, averages)
    losses = pure(loss, network.trainable_variables)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, tensors: Any, beta: Any) -> Any:
        mean, gradients = jax.value_and_grad(lambda weights: ops.mean(losses(weights, *tensors)))(state[0])
        norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
        scale = ops.minimum(1.0, CLIP_NORM / (norm + 1e-12))
        return held.updated(state, [gradient * scale for gradient in gradients], beta), mean, norm

    def run(batch: Batch, beta: float) -> tuple[float, float]:
        state, mean, norm = step(held.take(), batch.tensors(), np.float32(beta))
        held.put(state)
        return float(mean), float(norm)

    return run


def has_gpu(tf: Any) -> bool:
    """True where TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))
