"""Which rows each step of a training sees: row after row, or every group evenly."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from tfpdu.common import UserError
from tfpdu.data.views import epoch_order

NO_GROUP = -1  # the code of a row that is in no group


@dataclasses.dataclass(frozen=True)
class Batch:
    """The rows of one step.

    Attributes:
      rows: int64[b], places in the table.
      turns: int64[b], how often each of them was drawn before; keys its view.
    """

    rows: np.ndarray
    turns: np.ndarray


def plain_batches(keys: np.ndarray, batch: int, seed: int) -> Iterator[Batch]:
    """Pass after pass over all rows, without end, in nearly equal batches of at most `batch` rows.

    Args:
      keys: uint64[n] of `tfpdu.data.views.row_keys`; the order depends on (seed, pass, key) alone.
      batch: most rows a step.
      seed: of the order.
    """
    turn = 0
    while True:
        for part in np.array_split(epoch_order(keys, turn, seed), math.ceil(len(keys) / batch)):
            yield Batch(part, np.full(len(part), turn))
        turn += 1


def balanced_batches(keys: np.ndarray, groups: np.ndarray, batch: int, seed: int) -> Iterator[Batch]:
    """Steps with as many rows of each group, within one, and over the steps of equal size evenly; without end.

    Group-balanced sampling: "RWG" of Idrissi, Arjovsky, Pezeshki, Lopez-Paz (2022), Simple data balancing achieves
    competitive worst-group-accuracy, here without chance in the groups' shares. Each group is walked over by itself,
    each of its rows once before any twice, in an order that depends on (seed, pass, key) alone.

    Args:
      keys: uint64[n] of `tfpdu.data.views.row_keys`.
      groups: int[n], the group of each row; rows with -1 are never drawn.
      batch: rows a step, exactly.
      seed: of the order.

    Raises:
      UserError: no row is in a group.
    """
    known = np.unique(groups[groups != NO_GROUP])
    if not len(known):
        raise UserError("balanced sampling: no row is in a group")
    walks = [_walk(np.flatnonzero(groups == group), keys, seed) for group in known]
    m, at = len(known), 0
    while True:
        quotas = np.full(m, batch // m)
        quotas[(at + np.arange(batch % m)) % m] += 1  # the rest goes round
        at = (at + batch % m) % m
        drawn = [next(walk) for walk, quota in zip(walks, quotas.tolist(), strict=True) for _ in range(quota)]
        rows, turns = np.array(drawn, np.int64).T
        yield Batch(rows, turns)


def _walk(rows: np.ndarray, keys: np.ndarray, seed: int) -> Iterator[tuple[int, int]]:
    """(row, how often it was drawn before), without end."""
    turn = 0
    while True:
        for row in rows[epoch_order(keys[rows], turn, seed)].tolist():
            yield row, turn
        turn += 1
