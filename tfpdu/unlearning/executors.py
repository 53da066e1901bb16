"""Where shards are trained: one after another in this process, or as tasks of Ray."""

from collections.abc import Sequence
from typing import Protocol

from tfpdu.common import Progress
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.unlearning.job import ShardJob, train_shard


class Executor(Protocol):
    """Brings jobs to their end."""

    def run(self, jobs: Sequence[ShardJob]) -> None:
        """Returns when each job's directory holds the weights and the note of each of its slices.

        The files are those of a serial run, bit for bit but for the seconds in the notes.

        Raises:
          UserError: a job failed, or cannot be done as its keys say.
          StopRequested: a signal came; the same jobs go on from there.
        """


class SerialExecutor:
    """One shard after another, in this process."""

    def run(self, jobs: Sequence[ShardJob]) -> None:
        """See `Executor`."""
        for job in jobs:
            title = f"learning shard {job.shard + 1} of {job.training.settings.shards}"
            with Progress(title, job.left(), "images") as progress:
                _train(job, progress)


def _train(job: ShardJob, progress: Progress) -> None:
    train_shard(job, lambda rows, loss: progress.advance(rows, f"loss {loss:.3f}"))


def executor_of(settings: EnsembleSettings) -> Executor:
    """The executor that the settings name.

    Raises:
      UserError: it is Ray, and Ray is not installed.
    """
    if settings.executor == "serial":
        return SerialExecutor()
    from tfpdu.unlearning.ray_executor import RayExecutor

    return RayExecutor(settings.address)
