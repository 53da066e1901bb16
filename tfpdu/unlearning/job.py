"""The training of one shard as a thing that can be handed on: to this process, or to another machine."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import files, interrupt
from tfpdu.data.views import ViewPolicy
from tfpdu.ensemble.initial import InitialWeights
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.trainer import Rows, Span, Trainer
from tfpdu.ensemble.weights import load_weights


@dataclasses.dataclass(frozen=True)
class Training:
    """What all shards of an ensemble share.

    Attributes:
      settings: of the ensemble.
      views: of the training augmentation.
      classes: number of classes.
      input_shape: (h, w, c).
      seed: of the run.
      initial: weights that every shard starts from, see `build_resnet18`.
      process: the version of tfpdu and the fingerprint of the process whose bits are wanted, as in the keys.
    """

    settings: EnsembleSettings
    views: ViewPolicy
    classes: int
    input_shape: tuple[int, int, int]
    seed: int
    initial: InitialWeights
    process: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """A shard to be brought to its last slice. What was done before lies in the directory under the slices' keys.

    Attributes:
      training: how.
      shard: its number.
      keys: one a slice, R; each names a file, and a file of that name is that slice's result.
      rows: of all shards; one table for all jobs, so that none holds a copy.
      members: int[m], which of them are this shard's.
      slice: int[m], the slice of each of those.
      directory: where the files are.
    """

    training: Training
    shard: int
    keys: tuple[str, ...]
    rows: Rows
    members: np.ndarray
    slice: np.ndarray
    directory: Path

    def weights_file(self, r: int) -> Path:
        """The weights after slice r."""
        return self.directory / f"{self.keys[r]}.weights.h5"

    def note(self, r: int) -> Path:
        """What slice r's training took: JSON with slice, rows, row_epochs, seconds."""
        return self.directory / f"{self.keys[r]}.json"

    def partial(self, r: int) -> Path:
        """An unfinished training of slice r."""
        return self.directory / f"{self.keys[r]}.partial.npz"

    def done(self) -> int:
        """The number of slices that need no training any more, 0..R."""
        return max((r + 1 for r in range(len(self.keys)) if self.weights_file(r).exists()), default=0)

    def size(self, r: int) -> int:
        """Rows in slices 0..r: those that slice r is trained on."""
        return int((self.slice <= r).sum())

    def span(self, r: int) -> Span:
        """The epochs of slice r."""
        ends = [0, *self.training.settings.slice_epochs()]
        return Span(ends[r], ends[r + 1])

    def left(self) -> int:
        """Rows times epochs still to be trained."""
        spans = [(r, self.span(r)) for r in range(self.done(), len(self.keys))]
        return sum(self.size(r) * (span.last - span.first) for r, span in spans)


def train_shard(
    job: ShardJob,
    on_epoch: Callable[[int, float], None],
    on_slice: Callable[[int], None] = lambda r: None,
) -> None:
    """Goes on from the last slice whose file is there, slice by slice, each on all rows up to it.

    Args:
      job: what to train; its files are written to its directory.
      on_epoch: called after every epoch with the rows seen in it and the mean loss.
      on_slice: called when the files of a slice are written.

    Raises:
      UserError: the loss is no longer finite.
      StopRequested: a signal came; the same job goes on from there.
    """
    training = job.training
    trainer = Trainer(
        training.settings, training.views, training.classes, training.input_shape, training.seed, training.initial
    )
    done = job.done()
    if done:
        load_weights(trainer.model, job.weights_file(done - 1))
    else:
        trainer.start(job.shard)
    for r in range(done, len(job.keys)):
        interrupt.safe_point()
        rows, span = job.rows.take(job.members[job.slice <= r]), job.span(r)
        seconds = 0.0
        if len(rows):  # a slice may have lost all its rows: the model then stays as it is
            seconds = trainer.train(rows, span, job.partial(r), on_epoch)
        note = {"slice": r, "rows": len(rows), "row_epochs": len(rows) * (span.last - span.first)}
        files.write_json(job.note(r), {**note, "seconds": seconds})
        trainer.save(job.weights_file(r))
        job.partial(r).unlink(missing_ok=True)
        on_slice(r)
