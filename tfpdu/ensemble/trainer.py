"""Training of one shard's model: rows in, weights out, the same bits each time.

SGD with momentum under `tf.distribute.MirroredStrategy` over whatever devices there are. The order of rows, their
views and the initial weights are keyed by (seed, id) and (seed, shard), so the result is a function of the set of
rows and the settings, and of nothing that another row or an earlier training left behind.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfpdu.common import UserError, files, interrupt, seeds
from tfpdu.data.views import ViewPolicy, epoch_order, render, row_keys, training_views
from tfpdu.ensemble.resnet import InitialWeights, build_resnet18, initialise
from tfpdu.ensemble.settings import EnsembleSettings

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # images uint8[b,h,w,c], targets float32[b,C], weights float32[b]


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a model is trained on: images uint8[n,h,w,c], labels int[n], ids strings [n], loss weights float[n]."""

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Span:
    """Epochs [first, last) of a shard's training; their numbers key order and views."""

    first: int
    last: int


class Trainer:
    """Trains one network after another with one compiled step.

    Args:
      settings: of the ensemble.
      views: of the training augmentation.
      classes: number of classes.
      input_shape: (h, w, c).
      seed: of the run.
      initial: weights to start from, see `build_resnet18`; None draws them.
      partial_seconds: how often an unfinished training is put on disk.
    """

    def __init__(
        self,
        settings: EnsembleSettings,
        views: ViewPolicy,
        classes: int,
        input_shape: tuple[int, int, int],
        seed: int,
        initial: InitialWeights = None,
        partial_seconds: float = 300.0,
    ):
        self.settings, self.views, self.classes, self.seed = settings, views, classes, seed
        self._initial, self._partial_seconds = initial, partial_seconds
        self.strategy = tf.distribute.MirroredStrategy(devices())
        self.replicas = self.strategy.num_replicas_in_sync
        with self.strategy.scope():
            self.model = build_resnet18(
                input_shape, classes, settings.stem, settings.width,
                upscale=settings.image_upscale, precision=settings.precision,
            )  # fmt: skip
            self._weights = [v.value for v in self.model.trainable_variables]
            self._velocity = [tf.Variable(tf.zeros_like(w), trainable=False) for w in self._weights]
        self._step = tf.function(self._distributed_step, reduce_retracing=True)

    def start(self, shard: int) -> None:
        """Gives the model the initial weights of a shard."""
        initialise(self.model, seeds.stable_hash(self.seed, "shard", shard), self._initial)

    def train(
        self,
        rows: Rows,
        span: Span,
        partial: Path | None = None,
        on_epoch: Callable[[int, float], None] = lambda rows, loss: None,
    ) -> float:
        """Trains the model as it is on `rows`, with a fresh optimiser and the whole schedule over these epochs.

        Args:
          rows: at least one.
          span: which epochs.
          partial: where an unfinished training is kept, and taken up again with the very same result.
          on_epoch: called after every epoch with the rows seen in it and the mean loss.

        Returns:
          Seconds of training, those before an interruption included.

        Raises:
          UserError: the loss is no longer finite.
          StopRequested: a signal came; `partial` holds everything so far.
        """
        rows = _canonical(rows)
        first, before = self._take_up(partial, span)
        start = written = time.monotonic()
        batches = iter(self._dataset(rows, Span(first, span.last)))
        steps = math.ceil(len(rows) / self.settings.batch)
        for epoch in range(first, span.last):
            losses = []
            for step in range((epoch - span.first) * steps, (epoch + 1 - span.first) * steps):
                rate = learning_rate(self.settings, step, steps * (span.last - span.first))
                losses.append(self._run(next(batches), rate))
            loss = float(np.mean([float(value) for value in losses]))
            if not np.isfinite(loss):
                raise UserError(
                    f"ensemble.learning_rate={self.settings.learning_rate:g}: the loss is {loss} in epoch {epoch + 1};"
                    " choose a smaller rate"
                )
            on_epoch(len(rows), loss)
            due = time.monotonic() - written > self._partial_seconds
            if partial and epoch + 1 < span.last and (due or interrupt.stopping()):
                self._put_down(partial, epoch + 1, before + time.monotonic() - start)
                written = time.monotonic()
                interrupt.safe_point()
        return before + time.monotonic() - start

    # ---- steps -------------------------------------------------------------------------------

    def _run(self, batch: tuple[tf.Tensor, ...], rate: float) -> tf.Tensor:
        """One step; the batch is dealt in nearly equal parts to the replicas. Returns the batch's mean loss."""
        size, parts = batch[1].shape[0], self.replicas
        inverse = tf.constant(1.0 / size)
        if parts == 1:
            return self._step(*batch, inverse, tf.constant(rate, tf.float32))
        if size < parts:  # each replica needs a row; those that fill up have no weight in the loss
            batch = tuple(tf.concat([t, tf.repeat(t[:1], parts - size, 0)], 0) for t in batch)
            batch = (*batch[:2], tf.concat([batch[2][:size], tf.zeros(parts - size)], 0))
        cuts = np.linspace(0, max(size, parts), parts + 1).astype(int)

        def part(tensor: tf.Tensor) -> Callable[[Any], tf.Tensor]:
            return lambda context: tensor[cuts[(i := context.replica_id_in_sync_group)] : cuts[i + 1]]

        dealt = [self.strategy.experimental_distribute_values_from_function(part(tensor)) for tensor in batch]
        return self._step(*dealt, inverse, tf.constant(rate, tf.float32))

    def _distributed_step(self, images: Any, targets: Any, weights: Any, inverse: Any, rate: Any) -> Any:
        losses = self.strategy.run(self._replica_step, (images, targets, weights, inverse, rate))
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    def _replica_step(self, images: Any, targets: Any, weights: Any, inverse: Any, rate: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = self.model(tf.cast(images, tf.float32), training=True)  # [b, C]
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)  # [b]
            loss = tf.reduce_sum(losses * weights) * inverse  # this replica's part of the batch's mean
        gradients = tape.gradient(loss, self._weights)
        if self.replicas > 1:
            context = tf.distribute.get_replica_context()
            gradients = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        for weight, velocity, gradient in zip(self._weights, self._velocity, gradients, strict=True):
            self._descend(weight, velocity, gradient, rate)
        return loss

    def _descend(self, weight: Any, velocity: Any, gradient: Any, rate: Any) -> None:
        """v = momentum * v - rate * g; w += v, in one fused pass; kernels decay first."""
        decay = self.settings.weight_decay
        if decay and len(weight.shape) > 1:
            tf.raw_ops.AssignVariableOp(resource=weight.handle, value=weight * (1.0 - rate * decay))
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight.handle, accum=velocity.handle, lr=rate, grad=gradient, momentum=self.settings.momentum
        )

    # ---- rows --------------------------------------------------------------------------------

    def _dataset(self, rows: Rows, span: Span) -> tf.data.Dataset:
        """The span's batches, rendered while the step before is being computed; memory holds a few batches."""
        signature = (
            tf.TensorSpec((None, *rows.images.shape[1:]), tf.uint8),
            tf.TensorSpec((None, self.classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        )
        generator = lambda: self._batches(rows, span)  # noqa: E731
        return tf.data.Dataset.from_generator(generator, output_signature=signature).prefetch(2)

    def _batches(self, rows: Rows, span: Span) -> Iterator[Batch]:
        smoothing = self.settings.label_smoothing
        targets = (np.eye(self.classes) * (1 - smoothing) + smoothing / self.classes).astype(np.float32)  # [C, C]
        parts = math.ceil(len(rows) / self.settings.batch)
        keys = row_keys(rows.ids)  # [n]
        for epoch in range(span.first, span.last):
            view = training_views(keys, epoch, self.views, self.seed)  # [n]
            for part in np.array_split(epoch_order(keys, epoch, self.seed), parts):
                images = render(rows.images[part], keys[part], view[part], self.views, self.seed)
                yield images, targets[rows.labels[part]], rows.weights[part].astype(np.float32)

    # ---- interruption ------------------------------------------------------------------------

    def _put_down(self, path: Path, epoch: int, seconds: float) -> None:
        state = [np.asarray(v) for v in self.model.get_weights()] + [v.numpy() for v in self._velocity]
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, epoch=epoch, seconds=seconds, **{f"{i:04d}": value for i, value in enumerate(state)})

    def _take_up(self, path: Path | None, span: Span) -> tuple[int, float]:
        """Resets the optimiser, or restores all from `path`. Returns the epoch to go on with and seconds so far."""
        state = files.read_npz(path) if path and path.exists() else {}
        count = len(self.model.weights)
        for i, velocity in enumerate(self._velocity):
            velocity.assign(state[f"{count + i:04d}"] if state else tf.zeros_like(velocity))
        if not state:
            return span.first, 0.0
        self.model.set_weights([state[f"{i:04d}"] for i in range(count)])
        return int(state["epoch"]), float(state["seconds"])


def devices() -> list[str]:
    """The devices that share a batch: all GPUs, or else all logical CPU devices."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def learning_rate(settings: EnsembleSettings, step: int, steps: int) -> float:
    """The rate of a step: linear warm-up over `warmup * steps`, then a half cosine to 0."""
    warm = settings.warmup * steps
    if step + 1 <= warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _canonical(rows: Rows) -> Rows:
    """Sorted by id, so that the order of the table has no influence."""
    order = np.argsort(rows.ids)
    return Rows(rows.images[order], rows.labels[order], rows.ids[order], rows.weights[order])
