"""One step of SGD with momentum, compiled once, under MirroredStrategy over whatever devices there are."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfpdu.ensemble.resnet import build_resnet18, freeze


class TrainingStep:
    """A network, its velocities and the step that changes both.

    Args:
      model: builds the network.
      momentum: of SGD.
      weight_decay: of the kernels, decoupled: w -= rate * weight_decay * w.
    """

    def __init__(self, model: Callable[[], Any], momentum: float, weight_decay: float):
        self._momentum, self._decay = momentum, weight_decay
        self._strategy = _strategy()
        self.replicas = self._strategy.num_replicas_in_sync
        with self._strategy.scope():
            self.model = model()
            self._weights = [v.value for v in self.model.trainable_variables]
            self._velocity = [tf.Variable(tf.zeros_like(w), trainable=False) for w in self._weights]
        # One graph for all sizes of batch: where TensorFlow makes one graph for the first size it meets and another
        # for the rest, the bits of a shard depend on which shard this process happened to train before.
        # And no XLA: on a CPU it is several times slower than the plain kernels.
        signature = [
            tf.TensorSpec((None, *self.model.input_shape[1:]), tf.uint8),
            tf.TensorSpec((None, self.model.output_shape[-1]), tf.float32),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((self.replicas + 1,), tf.int32),
            tf.TensorSpec((), tf.float32),
            tf.TensorSpec((), tf.float32),
        ]
        self._compiled = tf.function(self._distributed, signature)
        # Variable by variable, a strategy takes longer for these than for an epoch on a small shard.
        self.reset = tf.function(self._forget_velocities)
        self._read = tf.function(lambda: [tf.convert_to_tensor(v.value) for v in self.model.weights])

    def weights(self) -> dict[str, np.ndarray]:
        """All weights of the network by path, in their order."""
        return {v.path: value.numpy() for v, value in zip(self.model.weights, self._read(), strict=True)}

    @property
    def state(self) -> list[np.ndarray]:
        """All weights, then all velocities."""
        return [*self.weights().values(), *(v.numpy() for v in self._velocity)]

    @state.setter
    def state(self, arrays: list[np.ndarray]) -> None:
        count = len(self.model.weights)
        self.model.set_weights(arrays[:count])
        for velocity, value in zip(self._velocity, arrays[count:], strict=True):
            velocity.assign(value)

    def __call__(self, images: Any, targets: Any, weights: Any, rate: float) -> Any:
        """Takes one step on a batch, dealt in nearly equal parts to the replicas.

        Args:
          images: uint8[b, h, w, c].
          targets: float32[b, C], the distribution to learn.
          weights: float32[b], of the rows in the loss.
          rate: the learning rate.

        Returns:
          The loss before the step, a scalar tensor: sum of weight * cross-entropy, over b.
        """
        size, parts = images.shape[0], self.replicas
        batch = (images, targets, weights)
        if size < parts:  # every replica needs a row; those that fill up have no weight in the loss
            batch = tuple(tf.concat([tensor, tf.repeat(tensor[:1], parts - size, 0)], 0) for tensor in batch)
            batch = (*batch[:2], tf.concat([weights, tf.zeros(parts - size)], 0))
        cuts = np.linspace(0, max(size, parts), parts + 1).astype(np.int32)
        return self._compiled(*batch, cuts, np.float32(1 / size), np.float32(rate))

    def _forget_velocities(self) -> None:
        for velocity in self._velocity:
            velocity.assign(tf.zeros_like(velocity))

    def _distributed(self, *arguments: Any) -> Any:
        losses = self._strategy.run(self._replica, arguments)
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _replica(self, images: Any, targets: Any, weights: Any, cuts: Any, scale: Any, rate: Any) -> Any:
        if self.replicas > 1:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            images, targets, weights = (t[cuts[replica] : cuts[replica + 1]] for t in (images, targets, weights))
        with tf.GradientTape() as tape:
            logits = self.model(tf.cast(images, tf.float32), training=True)  # [b, C]
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)  # [b]
            loss = tf.reduce_sum(losses * weights) * scale  # this replica's part of the batch's mean
        gradients = tape.gradient(loss, self._weights)
        if self.replicas > 1:
            gradients = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        for weight, velocity, gradient in zip(self._weights, self._velocity, gradients, strict=True):
            self._descend(weight, velocity, gradient, rate)
        return loss

    def _descend(self, weight: Any, velocity: Any, gradient: Any, rate: Any) -> None:
        """v = momentum * v - rate * g; w += v, in one fused pass over memory; kernels decay first."""
        if self._decay and len(weight.shape) > 1:
            tf.raw_ops.AssignVariableOp(resource=weight.handle, value=weight * (1.0 - rate * self._decay))
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight.handle, accum=velocity.handle, lr=rate, grad=gradient, momentum=self._momentum
        )


@functools.lru_cache(maxsize=2)
def resnet18_step(
    input_shape: tuple[int, int, int],
    classes: int,
    stem: str,
    width: int,
    upscale: int,
    precision: str,
    momentum: float,
    weight_decay: float,
    frozen: int = 0,
) -> TrainingStep:
    """The step of a ResNet18, see `build_resnet18`; compiled once a process, for all who train the same network.

    So many stages are `frozen`, see `freeze`.
    """

    def build() -> Any:
        model = build_resnet18(input_shape, classes, stem, width, upscale=upscale, precision=precision)
        freeze(model, frozen)
        return model

    return TrainingStep(build, momentum, weight_decay)


@functools.cache
def _strategy() -> tf.distribute.Strategy:
    """All GPUs, or else all logical CPU devices. One for all: two would number their exchanges alike and mix them."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in found])
