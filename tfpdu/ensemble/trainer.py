"""Training of one shard's model: rows in, weights out, the same bits each time.

The order of rows, their views and the initial weights are keyed by (seed, id) and (seed, shard), so the result is a
function of the set of rows and the settings, and of nothing that another row or an earlier training left behind.
"""

import dataclasses
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from tfpdu.common import UserError, files, interrupt, seeds
from tfpdu.data.storage import Images, pick
from tfpdu.data.views import ViewPolicy, epoch_order, render, row_keys, training_views
from tfpdu.ensemble.initial import InitialWeights, initialise
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.step import resnet18_step
from tfpdu.ensemble.weights import save_weights

Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # images uint8[b,h,w,c], targets float32[b,C], weights float32[b]


PARTIAL_SECONDS = 300.0  # how often an unfinished training is put on disk


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a model is trained on: images uint8[n,h,w,c], labels int[n], ids strings [n], loss weights float[n].

    Pictures on disk are read batch by batch.
    """

    images: Images
    labels: np.ndarray
    ids: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Rows":
        """The rows int[m], in that order; pictures on disk are not read."""
        return Rows(pick(self.images, rows), self.labels[rows], self.ids[rows], self.weights[rows])


@dataclasses.dataclass(frozen=True)
class Span:
    """Epochs [first, last) of a shard's training; their numbers key order and views."""

    first: int
    last: int


class Trainer:
    """Trains one network after another.

    Args:
      settings: of the ensemble.
      views: of the training augmentation.
      classes: number of classes.
      input_shape: (h, w, c).
      seed: of the run.
      initial: weights to start from, see `build_resnet18`; None draws them.
    """

    def __init__(
        self,
        settings: EnsembleSettings,
        views: ViewPolicy,
        classes: int,
        input_shape: tuple[int, int, int],
        seed: int,
        initial: InitialWeights = None,
    ):
        self.settings, self.views, self.classes, self.seed = settings, views, classes, seed
        self._initial = initial
        self._step = resnet18_step(
            input_shape, classes, settings.stem, settings.width, settings.image_upscale, settings.precision,
            settings.momentum, settings.weight_decay, settings.freeze,
        )  # fmt: skip

    @property
    def model(self) -> keras.Model:
        """The network that is trained; every training of the same kind of network changes it."""
        return self._step.model

    def start(self, shard: int) -> None:
        """Gives the model the initial weights of a shard."""
        initialise(self.model, seeds.stable_hash(self.seed, "shard", shard), self._initial)

    def save(self, path: Path) -> None:
        """Writes the model's weights as `save_weights` does."""
        save_weights(self.model, path, self._step.weights())

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
        batches = _ahead(self._batches(rows, Span(first, span.last)))
        for epoch in range(first, span.last):
            loss = self._epoch(batches, len(rows), epoch - span.first, span.last - span.first)
            on_epoch(len(rows), loss)
            due = time.monotonic() - written > PARTIAL_SECONDS
            if partial and epoch + 1 < span.last and (due or interrupt.stopping()):
                self._put_down(partial, epoch + 1, before + time.monotonic() - start)
                written = time.monotonic()
                interrupt.safe_point()
        return before + time.monotonic() - start

    def _epoch(self, batches: Iterator[Batch], n: int, epoch: int, epochs: int) -> float:
        steps = math.ceil(n / self.settings.batch)
        losses = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            losses.append(self._step(*next(batches), learning_rate(self.settings, step, steps * epochs)))
        loss = float(np.mean([float(value) for value in losses]))
        if not np.isfinite(loss):
            raise UserError(
                f"ensemble.learning_rate={self.settings.learning_rate:g}: the loss is {loss} in epoch {epoch + 1};"
                " choose a smaller rate"
            )
        return loss

    # ---- rows --------------------------------------------------------------------------------

    def _batches(self, rows: Rows, span: Span) -> Iterator[Batch]:
        """Nearly equal batches, so that none is a single row, which would have no variance to normalise by."""
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
        state = {f"{i:04d}": value for i, value in enumerate(self._step.state)}
        with files.replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, epoch=epoch, seconds=seconds, **state)

    def _take_up(self, path: Path | None, span: Span) -> tuple[int, float]:
        """Resets the optimiser, or restores all from `path`. Returns the epoch to go on with and seconds so far."""
        if not path or not path.exists():
            self._step.reset()
            return span.first, 0.0
        state = files.read_npz(path)
        epoch, seconds = int(state.pop("epoch")), float(state.pop("seconds"))
        self._step.state = [state[key] for key in sorted(state)]
        return epoch, seconds


def _ahead(batches: Iterator[Batch], count: int = 2) -> Iterator[Batch]:
    """The batches, so many of them made while the step before is being computed; memory holds no more.

    A tf.data pipeline does the same, but takes longer to set up than a small shard takes to train.
    """
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, batches, None) for _ in range(count))
        while (batch := coming.popleft().result()) is not None:
            coming.append(thread.submit(next, batches, None))
            yield batch


def learning_rate(settings: EnsembleSettings, step: int, steps: int) -> float:
    """The rate of a step: linear warm-up over `warmup * steps`, then a half cosine to 0."""
    warm = settings.warmup * steps
    if step + 1 <= warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


def _canonical(rows: Rows) -> Rows:
    """Sorted by id, so that the order of the table has no influence."""
    return rows.take(np.argsort(rows.ids))
