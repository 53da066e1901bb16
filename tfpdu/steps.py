"""The steps of a run, in the order in which they happen: iterations, and deletion rounds between them."""

import dataclasses
from typing import Any

from tfpdu.common.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True, order=True)
class Step:
    """An iteration of Algorithm 2, or a deletion round after one.

    Attributes:
      iteration: 0..T; for a round, the iteration that was done before it.
      round: the round's number, from 1; 0 for the iteration itself.
    """

    iteration: int
    round: int = 0

    @property
    def key(self) -> dict[str, Any]:
        """What the step's events in metrics.jsonl carry."""
        return {"round": self.round, "after_iteration": self.iteration} if self.round else {"iteration": self.iteration}

    @property
    def name(self) -> str:
        """Of the step's files; names sort as the steps do."""
        return f"{self.iteration:04d}" + (f"-round-{self.round:04d}" if self.round else "")

    @property
    def makes(self) -> int:
        """The iteration whose rows the step makes: a round's belong to the iteration that comes after it."""
        return self.iteration + 1 if self.round else self.iteration

    @classmethod
    def named(cls, name: str) -> "Step":
        """The step of a file's stem."""
        iteration, _, number = name.partition("-round-")
        return cls(int(iteration), int(number or 0))


FIRST = Step(0)


def last_step(run: RunDirectory, before_round: float = float("inf")) -> Step | None:
    """The step whose table is learned: the last iteration that is done, or a deletion round after it; None at first.

    Args:
      run: the directory of the run.
      before_round: only rounds with a lower number.
    """
    done = run.events("iteration")
    if not done:
        return None
    last = done[-1]["iteration"]
    rounds = [event["round"] for event in run.events("deletion") if event["after_iteration"] == last]
    return Step(last, max((number for number in rounds if number < before_round), default=0))
