"""Canaries: rows planted by fair coins in a generator's training table, to see whether its samples give them back.

A canary that was not planted cannot be remembered, and the coin alone decides which ones are; so the unplanted ones
say how often a canary is met by chance, and any excess among the planted ones is memory.

References:
  [1] Carlini, Liu, Erlingsson, Kos, Song. The secret sharer. 2019.
  [2] Fisher. The logic of inductive inference. 1935 (exact test of a 2 x 2 table).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.stats import hypergeom

from tfpdu.common import UserError
from tfpdu.common.seeds import hashed_order, rng, stable_hash
from tfpdu.common.validation import non_negative, one_of, positive
from tfpdu.data.records import Records, concatenate
from tfpdu.diffusion.features import PIXELS, Extractor
from tfpdu.diffusion.memorization import RATIO, is_copy
from tfpdu.diffusion.neighbours import nearest_distances

KINDS = ("solid", "noise", "mislabelled")


@dataclasses.dataclass(frozen=True, eq=False)
class Canaries:
    """Candidates, and the coin of each.

    Attributes:
      records: n rows; ids read "canary/<kind>/<number or source id>".
      planted: bool[n], which of them go into the training table.
    """

    records: Records
    planted: np.ndarray

    def planted_in(self, table: Records) -> Records:
        """The table with the planted canaries after its rows."""
        return concatenate([table, self.records.take(self.planted)])


def make_canaries(
    like: Records, count: int, seed: int, kinds: Sequence[str] = ("solid", "noise"), source: Records | None = None
) -> Canaries:
    """Makes `count` canaries of each kind.

    "solid" is an image of one random colour, "noise" one of independent random pixels, both with a random class and
    random attributes; "mislabelled" is an image of `source` with a wrong class. Canary, condition and coin depend on
    (seed, id) alone. The coins are fair and independent: about half of the canaries are planted.

    Args:
      like: names the image size, classes and attributes.
      count: of each kind.
      seed: of images, conditions and coins.
      kinds: of KINDS.
      source: for "mislabelled": rows that are in no training table; the first `count` by the hash of their ids.

    Raises:
      UserError: unknown kind, or too few rows or classes for mislabelled ones.
    """
    positive(count=count)
    ids: list[str] = []
    images: list[np.ndarray] = []
    avoid: list[int] = []
    for kind in kinds:
        one_of(KINDS, kind=kind)
        if kind == "mislabelled":
            rows = _source(source, like, count, seed)
            ids += [f"canary/{kind}/{row_id}" for row_id in rows.ids.tolist()]
            images, avoid = images + list(rows.images), avoid + rows.labels.tolist()
        else:
            names = [f"canary/{kind}/{number:05d}" for number in range(count)]
            ids, avoid = ids + names, avoid + [-1] * count
            images += [_image(like.images.shape[1:], kind, seed, name) for name in names]
    conditions = [_condition(like, seed, name, wrong) for name, wrong in zip(ids, avoid, strict=True)]
    records = Records(
        images=np.stack(images),
        labels=np.array([label for label, _ in conditions], np.int32),
        attributes=np.array([attributes for _, attributes in conditions], np.int8).reshape(len(ids), len(like.specs)),
        ids=np.array(ids, dtype=str),
        origin=np.zeros(len(ids), np.int8),
        specs=like.specs,
        label_names=like.label_names,
    )
    return Canaries(records, np.array([stable_hash(seed, "canary coin", name) % 2 == 1 for name in ids]))


@dataclasses.dataclass(frozen=True, eq=False)
class Reproduced:
    """How many canaries the samples give back.

    Attributes:
      planted, unplanted: how many there are.
      planted_reproduced, unplanted_reproduced: how many of them have a near-copy among the samples.
      p_value: one-sided, of Fisher's exact test [2]: so many planted among the reproduced ones by the coins alone.
      mask: bool[n], the reproduced canaries.
      extractor: name of what distances were measured in.
    """

    planted: int
    unplanted: int
    planted_reproduced: int
    unplanted_reproduced: int
    p_value: float
    mask: np.ndarray
    extractor: str


def reproduced(
    canaries: Canaries,
    samples: np.ndarray,
    rows: np.ndarray,
    flips: bool,
    extractor: Extractor = PIXELS,
    ratio: float = RATIO,
    within: float = 0.0,
) -> Reproduced:
    """Counts the canaries that have a near-copy among the samples.

    A sample reproduces a canary when that is its nearest neighbour among all canaries, planted or not, and all other
    rows, and the near-copy rule of `tfpdu.diffusion.memorization.is_copy` holds for the two nearest. Planted and
    unplanted canaries are treated alike. The canaries differ from each other; were two of them near-duplicates, the
    ratio would hide both.

    Args:
      canaries: of `make_canaries`.
      samples: uint8[m, h, w, c], best asked for with the canaries' own classes and attributes.
      rows: uint8[n, h, w, c], the training table without its canaries; may be empty.
      flips: mirrored rows count as rows; as the generator was trained.
      extractor: what distances are measured in.
      ratio, within: see `is_copy`.

    Raises:
      UserError: no samples, or images of different sizes.
    """
    non_negative(ratio=ratio, within=within)
    if not len(samples):
        raise UserError("canaries: there are no samples")
    if rows.shape[1:] != canaries.records.images.shape[1:]:
        raise UserError(f"canaries: {list(canaries.records.images.shape[1:])} and rows {list(rows.shape[1:])} differ")
    found = nearest_distances(samples, np.concatenate([canaries.records.images, rows]), flips, 2, extractor)
    n, planted = len(canaries.records), canaries.planted
    nearest = found.rows[is_copy(found.distances, ratio, within), 0]
    mask = np.zeros(n, bool)
    mask[nearest[nearest < n]] = True
    hits = int((mask & planted).sum())
    return Reproduced(
        planted=int(planted.sum()),
        unplanted=int((~planted).sum()),
        planted_reproduced=hits,
        unplanted_reproduced=int(mask.sum()) - hits,
        p_value=float(hypergeom.sf(hits - 1, n, int(planted.sum()), int(mask.sum()))),
        mask=mask,
        extractor=extractor.name,
    )


def _image(shape: tuple[int, ...], kind: str, seed: int, name: str) -> np.ndarray:
    draw = rng(seed, "canary", name)
    size = (1, 1, shape[-1]) if kind == "solid" else shape
    return np.broadcast_to(draw.integers(0, 256, size, np.uint8), shape)


def _condition(like: Records, seed: int, name: str, wrong: int) -> tuple[int, list[int]]:
    """A random class other than `wrong`, and random attributes."""
    draw = rng(seed, "canary condition", name)
    label = int(draw.integers(like.classes - (wrong >= 0)))
    return label + (0 <= wrong <= label), [int(draw.integers(spec.cardinality)) for spec in like.specs]


def _source(source: Records | None, like: Records, count: int, seed: int) -> Records:
    if source is None or len(source) < count:
        raise UserError(f"canaries: {count} mislabelled ones wanted, the source has {len(source or ())} rows")
    if source.label_names != like.label_names or source.classes < 2 or source.images.shape[1:] != like.images.shape[1:]:
        raise UserError(
            "canaries: mislabelled ones need a source of the same image size and the same classes, 2 or more"
        )
    return source.take(hashed_order(source.ids.tolist(), seed, "canary source")[:count])
