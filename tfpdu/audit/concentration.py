"""Whether a deletion falls on one group: how much of each group goes, and how odd that would be of rows chosen blindly.

Rows can be chosen for deletion so that a group is no longer learned; a model then gets worse for those who stay in it.
Of N rows K are in a group and k go. If any k rows were as likely as any others, the number that the group loses would
be hypergeometric, and p is the exact probability that it loses as many as it does, or more (Fisher's one-sided test).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import stats

from tfpdu.audit.significance import holm
from tfpdu.data.attributes import joint
from tfpdu.data.records import UNKNOWN, Records

MOST_CELLS = 50  # of all attributes together, that are looked at beside each attribute by itself
SHOWN = 3  # groups that people are told of, the oddest: the others are mostly the same rows seen from elsewhere


@dataclasses.dataclass(frozen=True)
class GroupLoss:
    """What a deletion takes from one group.

    Attributes:
      attribute: its name, 'a x b' for several together.
      group: the value.
      rows: K, the group's rows before.
      gone: how many of them go.
      p_value: of so many or more, in (0, 1].
      p_holm: the same, adjusted by Holm for all groups that were looked at.
    """

    attribute: str
    group: str
    rows: int
    gone: int
    p_value: float
    p_holm: float

    @property
    def share(self) -> float:
        """Of the group's rows that go."""
        return self.gone / self.rows

    def as_line(self) -> str:
        """A warning, for people."""
        chance = f"{self.p_holm:.2g}" if self.p_holm >= 1e-300 else "under 1e-300"
        return (
            f"{self.attribute} {self.group} loses {self.gone} of its {self.rows} rows ({self.share:.0%});"
            f" rows chosen blindly would take as many with probability {chance}: look at this group before and after"
        )


def group_losses(records: Records, gone: np.ndarray) -> list[GroupLoss]:
    """What a deletion takes from each group that loses something, the oddest first.

    Args:
      records: n rows that the model knows before the deletion.
      gone: bool[n], those that go.

    Returns:
      One entry a value of each attribute, and of all attributes together where those are at most 50 cells. Rows whose
      value is unknown are in no group, and not among the N and k of their attribute.
    """
    groups = list(_counts(records, np.asarray(gone, bool)))
    tails = [float(stats.hypergeom.sf(lost - 1, total, rows, taken)) for _, _, rows, lost, total, taken in groups]
    adjusted = [q for q in holm(tails) if q is not None]
    losses = [
        GroupLoss(name, group, rows, lost, p, q)
        for (name, group, rows, lost, *_), p, q in zip(groups, tails, adjusted, strict=True)
        if lost
    ]
    return sorted(losses, key=lambda loss: loss.p_value)


def concentrated(records: Records, gone: np.ndarray, level: float = 0.01) -> list[GroupLoss]:
    """The groups that a deletion falls on: their `p_holm` is under `level`, so at most that often without a reason."""
    return [loss for loss in group_losses(records, gone) if loss.p_holm < level]


def _counts(records: Records, gone: np.ndarray) -> Iterator[tuple[str, str, int, int, int, int]]:
    """Attribute, group, its rows, those that go, and both over all known groups."""
    names = [spec.name for spec in records.specs]
    columns = [(records.spec(name), records.column(name)) for name in names]
    if len(names) > 1 and np.prod([spec.cardinality for spec, _ in columns]) <= MOST_CELLS:
        columns.append(joint(records, names))
    for spec, codes in columns:
        known = codes != UNKNOWN
        rows = np.bincount(codes[known], minlength=spec.cardinality)
        lost = np.bincount(codes[known & gone], minlength=spec.cardinality)
        for value, there, less in zip(spec.values, rows.tolist(), lost.tolist(), strict=True):
            if there:
                yield spec.name, value, there, less, int(rows.sum()), int(lost.sum())
