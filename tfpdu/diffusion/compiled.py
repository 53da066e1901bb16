"""The one place that knows which backend Keras runs on: compiled functions and the training step."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.diffusion.batches import Batch

CLIP_NORM = 1.0  # of the gradient of the mean loss; ordinary steps stay well below


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors where the backend gains by it. XLA only on a GPU: on a CPU it is slower."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, jit_compile=_has_gpu(tf))
    return function


def training_step(
    network: keras.Model,
    optimiser: keras.optimizers.Optimizer,
    averages: Sequence[keras.Variable],
    loss: Callable[..., Any],
) -> Callable[[Batch, float], tuple[float, float]]:
    """A step of training: gradient, clipping, optimiser, moving average of the weights.

    Args:
      network: its trainable variables are updated.
      optimiser: built on those variables.
      averages: one variable per trainable variable, moved as a <- a + (1 - beta) (w - a).
      loss: (images uint8, noise, sigma, labels, attributes) -> losses float32[b].

    Returns:
      (batch, beta) -> (mean loss, gradient norm before clipping).

    Raises:
      UserError: Keras runs on a backend whose gradients are not wired here.
    """
    if keras.backend.backend() != "tensorflow":
        raise UserError(
            f"KERAS_BACKEND={keras.backend.backend()}: the generator samples there, but trains on tensorflow"
        )
    import tensorflow as tf

    weights = [variable.value for variable in network.trainable_variables]

    @tf.function(autograph=False, jit_compile=_has_gpu(tf))
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
        tensors = (batch.images, batch.noise, batch.sigma, batch.labels, batch.attributes, np.float32(beta))
        mean, norm = step(*(tf.constant(tensor) for tensor in tensors))
        return float(mean), float(norm)

    return run


def _has_gpu(tf: Any) -> bool:
    return bool(tf.config.list_physical_devices("GPU"))
