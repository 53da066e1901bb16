"""Does the generator copy its training rows? Measures of it, and a guard.

A small copy ratio or a neighbour share of one half shows that no copying was seen in these samples, and is no proof
that nothing of a training row is left in the generator. Distances are those of `tfpdu.diffusion.neighbours`; an
extractor other than pixels should have been trained on rows that are neither samples, training rows nor held out.

References:
  [1] Gu, Du, Pang, Li, Lin, Wang. On memorization in diffusion models. 2025, section 2 (the ratio of one third).
  [2] Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. 1934.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy import special

from tfpdu.common import UserError
from tfpdu.common.intervals import clopper_pearson
from tfpdu.common.seeds import hashed_order, rng
from tfpdu.common.validation import non_negative
from tfpdu.data.records import Records
from tfpdu.diffusion.features import PIXELS, Extractor
from tfpdu.diffusion.neighbours import Search, nearest_distances
from tfpdu.diffusion.quality import Generate

RATIO = 1 / 3  # d1 / d2 below which a sample is a copy [1]
# Half the distance of the nearest of 2,000 held-out CIFAR-10 images to 5,000 rows (0.063); of digits it is 0.073.
NEAR = 0.03
SWAPS = 9_999  # random swaps of the swap test


@dataclasses.dataclass(frozen=True, eq=False)
class Copies:
    """Which samples are near-copies.

    Attributes:
      ratio: share of the samples that are, in [0, 1]; ci_low, ci_high: its 95 % interval [2].
      mask: bool[m].
      distances: float64[m, 2], d1 and d2.
      nearest: int64[m], the row number of the nearest row.
      extractor: name of what distances were measured in.
    """

    ratio: float
    ci_low: float
    ci_high: float
    mask: np.ndarray
    distances: np.ndarray
    nearest: np.ndarray
    extractor: str


def is_copy(distances: np.ndarray, ratio: float = RATIO, within: float = 0.0) -> np.ndarray:
    """The rule: d1 < ratio * d2 [1], or d1 <= within.

    The ratio alone misses a copy of a row that is in the table twice, for then d1 = d2; d1 = 0 is a copy in any case.

    Args:
      distances: float[m, 2 or more], rising.
      ratio: in [0, 1] to make sense.
      within: a distance.

    Returns:
      bool[m].
    """
    d1, d2 = distances[:, 0], distances[:, 1]
    return (d1 < ratio * d2) | (d1 <= within)


def copy_ratio(
    samples: np.ndarray,
    rows: np.ndarray,
    flips: bool,
    extractor: Extractor = PIXELS,
    ratio: float = RATIO,
    within: float = 0.0,
) -> Copies:
    """Share of the samples that are near-copies of training rows. Read it beside that of real held-out images.

    Args:
      samples: uint8[m, h, w, c], at least one.
      rows: uint8[n, h, w, c], the generator's training rows, at least two.
      flips: mirrored rows count as rows; as the generator was trained.
      extractor: what distances are measured in.
      ratio, within: see `is_copy`.

    Raises:
      UserError: no sample, fewer than two rows, or images of different sizes.
    """
    non_negative(ratio=ratio, within=within)
    if not len(samples):
        raise UserError("copy ratio: there are no samples")
    found = nearest_distances(samples, rows, flips, 2, extractor)
    mask = is_copy(found.distances, ratio, within)
    low, high = clopper_pearson(int(mask.sum()), len(mask))
    return Copies(float(mask.mean()), low, high, mask, found.distances, found.rows[:, 0], extractor.name)


@dataclasses.dataclass(frozen=True)
class NeighbourShare:
    """How often a sample is nearer to training rows than to held-out ones.

    Attributes:
      share: in [0, 1], ties counted one half; 0.5 on average for a generator that owes nothing to single rows.
      p_value: probability of at least this share if it were 0.5 for every sample, one-sided binomial.
      swap_p_value: probability of at least this share if training and held-out rows were swapped at random, pair by
        pair; smallest value 1 / (1 + SWAPS). It also holds where few rows are near to many samples.
      ci_low, ci_high: its 95 % interval [2].
      samples: how many.
      ties: how many of them are equally near to both.
      rows: how many training rows were compared with as many held-out ones, after matching.
      extractor: name of what distances were measured in.
    """

    share: float
    p_value: float
    swap_p_value: float
    ci_low: float
    ci_high: float
    samples: int
    ties: int
    rows: int
    extractor: str


def neighbour_share(
    samples: np.ndarray, train: Records, holdout: Records, flips: bool, extractor: Extractor = PIXELS
) -> NeighbourShare:
    """P[d(s, train) < d(s, holdout)], calibrated: both tables are cut by `matched` first.

    The binomial test and the interval treat the samples of one generator as independent, and each of them as a fair
    coin. Given its weights they are independent; but which of the two tables happens to hold the rows that lie near to
    many samples is one draw for all of them, so that the binomial test sees too much in many samples against few
    rows. The swap test asks what such chance alone gives: without memory the two rows of a pair are exchangeable.
    Half-counted ties are rounded to the side that claims less.

    Args:
      samples: uint8[m, h, w, c], at least one.
      train: the generator's training rows. Rows that matching drops count as if never trained on, so hold out as
        many rows of each cell as were trained on where that is possible.
      holdout: rows of the same source that were not trained on.
      flips: mirrored rows count as rows; as the generator was trained.
      extractor: what distances are measured in.

    Raises:
      UserError: no sample, no common cell, tables with common ids, or images of different sizes.
    """
    if not len(samples):
        raise UserError("neighbour share: there are no samples")
    train, holdout = matched(train, holdout)
    sides = [nearest_distances(samples, table.images, flips, 1, extractor) for table in (train, holdout)]
    near, far = (side.distances[:, 0] for side in sides)
    hits = [
        np.bincount(side.rows[won, 0], minlength=len(train))
        for side, won in zip(sides, (near < far, far < near), strict=True)
    ]
    wins, ties, m = int(np.sum(near < far)), int(np.sum(near == far)), len(near)
    least, most = wins + ties // 2, wins + (ties + 1) // 2
    return NeighbourShare(
        share=(wins + ties / 2) / m,
        p_value=float(special.bdtrc(least - 1, m, 0.5)) if least else 1.0,
        swap_p_value=_swap_p_value(hits[0] - hits[1]),
        ci_low=clopper_pearson(least, m)[0],
        ci_high=clopper_pearson(most, m)[1],
        samples=m,
        ties=ties,
        rows=len(train),
        extractor=extractor.name,
    )


def matched(train: Records, holdout: Records) -> tuple[Records, Records]:
    """As many rows of each cell from both tables: the first by the hash of their ids. Rows i of both share a cell.

    A cell is a combination of label and all attributes, unknown being a value of its own.

    Raises:
      UserError: tables of different classes or attributes, with a common id, or without a common cell.
    """
    if train.specs != holdout.specs or train.label_names != holdout.label_names:
        raise UserError("neighbour share: training and held-out rows have different classes or attributes")
    both = np.intersect1d(train.ids, holdout.ids)
    if len(both):
        raise UserError(f"neighbour share: row {str(both[0])!r} is both trained on and held out")
    tables = [np.column_stack([t.labels.astype(np.int64), t.attributes.astype(np.int64)]) for t in (train, holdout)]
    cells, cell = np.unique(np.concatenate(tables), axis=0, return_inverse=True)
    sides = np.split(cell.ravel(), [len(train)])
    counts = np.minimum(*(np.bincount(side, minlength=len(cells)) for side in sides))
    if not counts.sum():
        raise UserError("neighbour share: training and held-out rows have no cell (label x attributes) in common")
    first, second = (_first(table, side, counts) for table, side in zip((train, holdout), sides, strict=True))
    return first, second


def without_copies(
    generate: Generate,
    rows: np.ndarray,
    flips: bool,
    *,
    extractor: Extractor = PIXELS,
    ratio: float = RATIO,
    within: float | None = None,
    max_redraws: int = 3,
) -> "CopyGuard":
    """Wraps a generator so that near-copies of its training rows are drawn again. Image i still depends on key i alone.

    The guard looks at the originals, so it is made while they may still be used and is dropped with them; and what it
    lets through is not thereby private.

    Args:
      generate: (labels, attributes, keys) -> uint8[m, h, w, c], where image i depends on key i alone.
      rows: uint8[n, h, w, c], its training rows, at least two.
      flips: mirrored rows count as rows; as the generator was trained.
      extractor: what distances are measured in.
      ratio: see `is_copy`.
      within: see `is_copy`; it catches copies of rows that are in the table more than once. By default NEAR in pixels
        and 0 in features; keep it well below the distance of held-out images to their nearest row.
      max_redraws: how often a sample may be drawn again; the r-th time with key "<key>/again<r>". A sample that is
        still a copy then is kept, and counted.

    Returns:
      A `Generate` with a `tally`.

    Raises:
      UserError: fewer than two rows, or negative numbers.
    """
    within = within if within is not None else NEAR if extractor is PIXELS else 0.0
    non_negative(ratio=ratio, within=within, max_redraws=max_redraws)
    if len(rows) < 2:
        raise UserError(f"without copies: {len(rows)} training rows, at least 2 are needed")
    return CopyGuard(generate, Search(rows, flips, extractor), ratio, within, int(max_redraws))


class CopyGuard:
    """A `Generate` that draws near-copies again, see `without_copies`.

    Attributes:
      tally: counts over all calls: "sampled" images handed out, "redrawn_copies" draws that were thrown away,
        "kept_copies" images handed out although they are near-copies.
    """

    def __init__(self, generate: Generate, search: Search, ratio: float, within: float, max_redraws: int):
        self._generate, self._search, self._max_redraws = generate, search, max_redraws
        self._ratio, self._within = ratio, within
        self.tally: Counter[str] = Counter(sampled=0, redrawn_copies=0, kept_copies=0)

    def __call__(self, labels: np.ndarray, attributes: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """uint8[m, h, w, c], one image per key."""
        images = np.array(self._generate(labels, attributes, keys))
        waiting = np.flatnonzero(self._copied(images))
        for redraw in range(1, self._max_redraws + 1):
            if not waiting.size:
                break
            self.tally["redrawn_copies"] += len(waiting)
            again = [f"{keys[i]}/again{redraw}" for i in waiting]
            images[waiting] = self._generate(labels[waiting], attributes[waiting], again)
            waiting = waiting[self._copied(images[waiting])]
        self.tally["sampled"] += len(images)
        self.tally["kept_copies"] += len(waiting)
        return images

    def _copied(self, images: np.ndarray) -> np.ndarray:
        return is_copy(self._search.nearest(images, 2).distances, self._ratio, self._within)


def _swap_p_value(differences: np.ndarray) -> float:
    """Share of random sign changes of the pairs' differences whose sum is at least the one seen, float64[n] -> p."""
    differences = differences[differences != 0].astype(np.float64)
    draw, reached = rng("swaps", len(differences)), 1
    for start in range(0, SWAPS, 1000):
        signs = draw.integers(0, 2, (min(1000, SWAPS - start), len(differences)), np.int8)
        reached += int(np.sum((2 * signs - 1) @ differences >= differences.sum()))
    return reached / (SWAPS + 1)


def _first(records: Records, cell: np.ndarray, counts: np.ndarray) -> Records:
    """The first `counts[c]` rows of each cell by the hash of their ids, cell by cell."""
    order = hashed_order(records.ids.tolist(), "matched")
    order = order[np.argsort(cell[order], kind="stable")]  # by cell, then by hash
    place = np.arange(len(order)) - np.searchsorted(cell[order], cell[order])  # place within its cell
    return records.take(order[place < counts[cell[order]]])
