"""One audit says something about one model. Several seeds of the training say something about the method."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.intervals import student

SAME = ("iteration", "attack", "protocol", "population", "slice")


@dataclasses.dataclass(frozen=True)
class Spread:
    """One measure over the seeds of the target model.

    Attributes:
      mean: over the seeds.
      sd: standard deviation over the seeds (ddof 1).
      low: the smallest.
      high: the largest.
      ci_low: lower end of Student's interval of the mean; each seed counts once, however many rows it was counted on.
      ci_high: upper end.
      seeds: how many.
    """

    mean: float
    sd: float
    low: float
    high: float
    ci_low: float
    ci_high: float
    seeds: int


def spread(values: Sequence[float], confidence: float = 0.95) -> Spread:
    """The spread of one measure over at least two models.

    The interval takes the values as normal, and is not cut at 0 or 1: an average of few models is not known better.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise UserError(f"spread: expected finite values of at least two seeds, got {list(x.ravel())}")
    mean, half = student(x, confidence)
    return Spread(mean, float(x.std(ddof=1)), float(x.min()), float(x.max()), mean - half, mean + half, len(x))


def over_seeds(
    audits: Sequence[Sequence[Mapping[str, Any]]],
    measures: Sequence[str] = ("success_rate", "auc", "tpr", "tnr"),
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Puts the rows of `audit.json` of several models together that differ in the training's seed alone.

    Args:
      audits: per seed its rows, at least two seeds; rows belong together by iteration, attack, protocol, population
        and slice.
      measures: which columns.
      confidence: of the intervals.

    Returns:
      A dict a group, in the order of the first audit: those keys, and each measure's `Spread` as a dict.

    Raises:
      UserError: fewer than two audits, a row twice in one, or one that some audit lacks.
    """
    if len(audits) < 2:
        raise UserError(f"over_seeds: {len(audits)} audit, at least two are needed")
    tables = []
    for number, rows in enumerate(audits):
        keys = [tuple(row.get(name) for name in SAME) for row in rows]
        if len(set(keys)) < len(keys):
            raise UserError(f"over_seeds: audit {number} has two rows for {_twice(keys)}")
        tables.append(dict(zip(keys, rows, strict=True)))
    for number, table in enumerate(tables):
        odd = [key for key in (*tables[0], *table) if (key in tables[0]) != (key in table)]
        if odd:
            raise UserError(f"over_seeds: {odd[0]} is in one of the audits 0 and {number} only")
    return [
        {
            **{name: part for name, part in zip(SAME, key, strict=True) if not (name == "slice" and part is None)},
            **{name: dataclasses.asdict(spread([t[key][name] for t in tables], confidence)) for name in measures},
        }
        for key in tables[0]
    ]


def _twice(keys: Sequence[Any]) -> Any:
    return next(key for key in keys if keys.count(key) > 1)
