"""Batch normalisation that is one fused kernel where TensorFlow runs, and plain `keras.ops` elsewhere."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tfpdu")
class BatchNormalization(keras.layers.Layer):
    """Batch normalisation over the last axis of [b, h, w, c] (Ioffe and Szegedy 2015).

    Keras' own layer computes the moments with separate reductions; the fused kernel is the same mathematics in
    one pass. Both paths of this layer keep the unbiased batch variance in the moving average, as the fused
    kernel and PyTorch do. Under a distribution strategy each replica normalises by its own part of the batch
    and keeps its own moving statistics, whose mean over the replicas is what one reads outside.
    Where `trainable` is False it normalises by the moving statistics in training too, and leaves them, as Keras' does.

    Args:
      momentum: how much of the moving statistics stays per step, in [0, 1).
      epsilon: added to the variance; the fused kernel asks for at least 1.001e-5.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1.001e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes gamma, beta and the moving statistics, float32[c] each."""
        shape = (input_shape[-1],)
        self.gamma = self.add_weight(shape=shape, name="gamma", initializer="ones", autocast=False)
        self.beta = self.add_weight(shape=shape, name="beta", initializer="zeros", autocast=False)
        self.moving_mean = _moving("zeros", shape, "moving_mean")
        self.moving_variance = _moving("ones", shape, "moving_variance")

    def call(self, x: Any, training: bool = False) -> Any:
        """Normalises [b, h, w, c], by the batch's moments in training and by the moving ones else."""
        if not training or not self.trainable:
            scale = self.gamma.value * ops.rsqrt(self.moving_variance.value + self.epsilon)  # [c]
            offset = self.beta.value - self.moving_mean.value * scale  # [c]
            return x * ops.cast(scale, x.dtype) + ops.cast(offset, x.dtype)
        normalise = _fused if keras.backend.backend() == "tensorflow" else _plain
        y, mean, variance = normalise(x, self.gamma.value, self.beta.value, self.epsilon)
        _blend(self.moving_mean, mean, self.momentum)
        _blend(self.moving_variance, variance, self.momentum)
        return y

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}


def _moving(initializer: str, shape: tuple[int | None, ...], name: str) -> keras.Variable:
    """A statistic that each replica keeps for itself; `add_weight` has no argument for that."""
    return keras.Variable(
        initializer, shape, "float32", trainable=False, autocast=False, name=name,
        aggregation="mean", synchronization="on_read",
    )  # fmt: skip


def _fused(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, exponential_avg_factor=1.0
    )
    return y, mean, variance


def _plain(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    wide = ops.cast(x, "float32")
    mean, variance = ops.moments(wide, axes=(0, 1, 2))  # [c], [c]
    scale = gamma * ops.rsqrt(variance + epsilon)
    count = ops.cast(ops.size(x) / ops.shape(x)[-1], "float32")
    y = ops.cast(wide * scale + (beta - mean * scale), x.dtype)
    return y, mean, variance * count / ops.maximum(count - 1.0, 1.0)


def _blend(moving: Any, batch: Any, momentum: float) -> None:
    moving.assign(moving.value * momentum + ops.stop_gradient(batch) * (1.0 - momentum))
