"""The draw S out of the private pool: plain, or biased on purpose."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.seeds import hashed_order, id_hashes
from tfpdu.common.validation import distribution, positive
from tfpdu.data.records import Records


@dataclasses.dataclass(frozen=True)
class DrawSettings:
    """What is drawn.

    Attributes:
      rows: how many rows.
      shares: {attribute: {value name: share}}, one attribute, shares that sum to 1; the paper's
        {"superclass": {"animal": 0.2, "vehicle": 0.8}}. Empty: not biased.
      counts: the same with numbers of rows, which sum to `rows`; not both.
    """

    rows: int
    shares: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(rows=self.rows)
        if int(self.rows) != self.rows:
            raise UserError(f"rows: expected a whole number, got {self.rows}")
        if len(self.shares) + len(self.counts) > 1:
            raise UserError("shares, counts: expected one attribute in one of them")
        for attribute, shares in self.shares.items():
            distribution(**{f"shares of {attribute}": list(shares.values())})
        for attribute, counts in self.counts.items():
            if any(count < 0 or int(count) != count for count in counts.values()):
                raise UserError(f"counts of {attribute}: expected whole numbers of at least 0, got {dict(counts)}")
            if sum(counts.values()) != self.rows:
                raise UserError(f"counts of {attribute}: sum to {sum(counts.values())}, rows is {self.rows}")


def draw(records: Records, settings: DrawSettings, seed: int) -> Records:
    """Draws rows by the hash of (seed, id).

    A plain draw takes the first `rows`, so a smaller draw is the beginning of a larger one. A biased draw takes its
    number of rows of each value, as evenly from the classes as the pool allows. Rows come in the order of their hash.

    Args:
      records: the pool.
      settings: how many, and of what.
      seed: the run's seed.

    Raises:
      UserError: the pool has too few rows (of a value): both numbers are named; or an unknown attribute or value.
    """
    if settings.rows > len(records):
        raise UserError(f"config.draw.rows: {settings.rows} wanted, the private pool has {len(records)}")
    order = hashed_order(records.ids, seed, "draw")
    for attribute, counts in _counts(settings).items():
        return records.take(_biased(records, order, attribute, counts, seed))
    return records.take(order[: settings.rows])


def _biased(records: Records, order: np.ndarray, attribute: str, counts: Mapping[str, int], seed: int) -> np.ndarray:
    """Rows [sum of counts], in the order of their hash."""
    spec, codes = records.spec(attribute), records.column(attribute)
    unknown = [value for value in counts if value not in spec.values]
    if unknown:
        raise UserError(
            f"config.draw: {attribute!r} has no value {unknown[0]!r}; its values are {', '.join(spec.values)}"
        )
    chosen = np.zeros(len(records), bool)
    for value, count in counts.items():
        rows = order[codes[order] == spec.values.index(value)]
        if len(rows) < count:
            raise UserError(f"config.draw: {count} rows with {attribute}={value} wanted, the pool has {len(rows)}")
        labels = records.labels[rows]
        quotas = even_quotas(np.bincount(labels, minlength=records.classes), count, seed)
        for label in np.flatnonzero(quotas):
            chosen[rows[labels == label][: quotas[label]]] = True
    return order[chosen[order]]


def _counts(settings: DrawSettings) -> dict[str, dict[str, int]]:
    """{attribute: {value: rows}}; shares are rounded by largest remainder."""
    for attribute, shares in settings.shares.items():
        exact = np.array(list(shares.values()), np.float64) * settings.rows
        counts = np.floor(exact + 1e-9).astype(np.int64)
        largest = np.argsort(-(exact - counts), kind="stable")
        counts[largest[: settings.rows - counts.sum()]] += 1
        return {attribute: dict(zip(shares, counts.tolist(), strict=True))}
    return {attribute: {value: int(n) for value, n in counts.items()} for attribute, counts in settings.counts.items()}


def even_quotas(available: np.ndarray, total: int, seed: int) -> np.ndarray:
    """Deals `total` rows as evenly as `available` int[K] allows. Returns int64[K], nowhere above `available`.

    What cannot be dealt evenly, fewer than K rows, goes to classes in a hashed order, one each.
    """
    available = np.asarray(available, np.int64)
    if total > available.sum():
        raise UserError(f"{total} rows wanted, {available.sum()} are there")
    low, high = 0, int(total)
    while low < high:  # the highest level to which all can be filled
        level = (low + high + 1) // 2
        low, high = (level, high) if np.minimum(available, level).sum() <= total else (low, level - 1)
    quotas = np.minimum(available, low)
    left = total - quotas.sum()
    order = np.argsort(id_hashes([str(k) for k in range(len(quotas))], seed, "quotas"))
    quotas[[k for k in order if available[k] > low][:left]] += 1
    return quotas
