"""Forget-ordered slices: the rows to be forgotten next lie last, so that forgetting them is cheap and still exact.

The schedule of Algorithm 2 is known, so a shard is learned in two slices. The *base* holds what stays for a while:
the synthetic rows made so far, and the originals that leave later; it is trained in full. The last slice holds the rest
and adds a few epochs on all rows. A step that takes rows of the last slice goes back to the checkpoint of the base,
which never saw them, and trains the last slice's epochs alone.

A base grows weak as rows come that it has not seen, so at some steps it is made anew. A base made at step b and used
before step h may hold no row that leaves at b + 1 .. h - 1: lasting longer makes it smaller. When to make one is a
shortest path from step 0 to the end, whose edges (b, h) cost the epochs of one base.
"""

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np

from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import in_range, positive

NEVER = np.iinfo(np.int32).max  # the step at which a row leaves that nobody plans to forget


def leaving_steps(ids: Sequence[str], steps: int, seed: int) -> np.ndarray:
    """The step that forgets each original, 1..T: an even schedule, in an order by hash. Returns int32[n]."""
    rank = np.argsort(hashed_order(ids, seed, "forget"))
    ends = np.round(len(ids) * np.arange(1, steps + 1) / steps)  # rows forgotten up to each step
    return np.searchsorted(ends, rank, side="right").astype(np.int32) + 1


@dataclasses.dataclass(frozen=True)
class BasePlan:
    """When the base is made anew, and what each step costs.

    Attributes:
      rebuilds: the steps at which a base is made, ascending; the first is 0.
      shares: for each base, the share of all rows that it holds, in 0..1.
      costs: for each step 0..T, its training in units of a full retraining (rows times epochs).
      keeps_synthetic: whether synthetic rows outlive the step that made them (all lineages but "strict").
    """

    rebuilds: tuple[int, ...]
    shares: tuple[float, ...]
    costs: tuple[float, ...]
    keeps_synthetic: bool = True

    @property
    def steps(self) -> int:
        """T, the number of forgetting steps."""
        return len(self.costs) - 1

    @property
    def total_cost(self) -> float:
        """Of the T forgetting steps together, as a share of T full retrainings."""
        return sum(self.costs[1:]) / max(self.steps, 1)

    def slices(self, t: int, leaves: np.ndarray, made: np.ndarray) -> np.ndarray:
        """The slice of each row of the table of step t: 0 is the base, 1 the last slice.

        Args:
          t: the step, 0..T.
          leaves: int[n], the step at which an original leaves (`NEVER` where none is planned); ignored elsewhere.
          made: int[n], the step that made a synthetic row; -1 for originals.

        Returns:
          int32[n] of 0 and 1.
        """
        start = max(b for b in self.rebuilds if b <= t)
        end = min((b for b in self.rebuilds if b > t), default=self.steps + 1)
        stays = np.where(made < 0, leaves >= end, (made <= start) & self.keeps_synthetic)
        return np.where(stays, 0, 1).astype(np.int32)


def plan_bases(rows: int, leaving: list[int], last_cost: float, floor: float, keeps_synthetic: bool = True) -> BasePlan:
    """The cheapest plan in which no base holds less than `floor` of the rows.

    Args:
      rows: N, the constant size of the table.
      leaving: for each step 1..T, the number of originals that it forgets; N minus their sum is synthetic throughout.
      last_cost: epochs of the last slice, as a share of those of a full training (and of a base); above 0.
      floor: in 0..1; 1 makes a base at every step. A base for a single step is always allowed, whatever it holds.
      keeps_synthetic: False where each step makes all synthetic rows anew; bases then hold originals alone.

    Raises:
      UserError: a number is out of range.
    """
    positive(rows=rows)
    positive(last_cost=last_cost)
    in_range(0, 1, floor=floor)
    gone = np.concatenate([[0], np.cumsum(leaving)]).astype(int)  # [T + 1]: originals forgotten up to step t
    end = len(gone)

    def share(b: int, h: int) -> float:
        """Of the rows, those in a base that is made at b and used before h."""
        left = gone[-1] - gone[h - 1]  # originals that leave at h or later
        return float(left + (rows - gone[-1] + gone[b]) * keeps_synthetic) / rows

    @cache
    def cheapest(b: int) -> tuple[float, int]:
        """Cost of all bases from b on, and where the one made at b ends; of equal plans, the one with larger bases."""
        if b == end:
            return 0.0, end
        ends = [h for h in range(b + 1, end + 1) if h == b + 1 or share(b, h) >= floor]
        return min((round(share(b, h) + cheapest(h)[0], 12), h) for h in ends)

    rebuilds, shares, b = [], [], 0
    while b < end:
        _, h = cheapest(b)
        rebuilds.append(b)
        shares.append(share(b, h))
        b = h
    made = dict(zip(rebuilds, shares, strict=True))
    costs = tuple(last_cost + made.get(t, 0.0) for t in range(end))
    return BasePlan(tuple(rebuilds), tuple(shares), costs, keeps_synthetic)
