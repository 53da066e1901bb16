"""Twins: the same picture, or nearly the same, under two ids, so that deleting one leaves the other behind.

The distance of two pictures is the standard deviation of their difference, in [0, 1/2] of the range of a pixel: what
is left of the root mean square difference when one may be made brighter as a whole. A picture and its mirror image
count as one, since training flips pictures.

The default bound finds, of 1,000 Tiny ImageNet pictures cut to 24 pixels: of those saved anew as JPEG 98 % at quality
90, 71 % at 75 and 21 % at 50; of those made a quarter smaller and large again 55 %; of those moved by a pixel 1 %.

No pair within the bound is missed. Pictures are first compared as grey thumbnails: averaging over areas is an
orthogonal projection and so never makes a distance longer. The pairs that are near there are measured again on all
pixels, in float64.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tfpdu.common.interrupt import safe_point
from tfpdu.common.validation import in_range
from tfpdu.data.records import Records

WITHIN = 0.03  # the nearest pair of the 1,797 digits is at 0.041, of 10,000 CIFAR-10 pictures at 0.040
BRIGHTER = 0.2  # an even sky is as even by day and by night
SIDE = 16  # of a thumbnail
BLOCK = 1024  # pictures compared at a time on either side
PAIRS = 2**22  # pixels measured at a time


@dataclasses.dataclass(frozen=True)
class Twin:
    """Two rows with nearly the same picture.

    Attributes:
      id: the row that is to be deleted.
      twin: the row that would stay.
      distance: of the pictures, 0 for a copy that may be brighter or mirrored.
      brighter: mean of the twin minus mean of the row, in [-1, 1] of the range of a pixel.
      mirrored: the twin is nearer when mirrored, left to right.
    """

    id: str
    twin: str
    distance: float
    brighter: float
    mirrored: bool

    @property
    def exact(self) -> bool:
        """The pixels are the same, one by one."""
        return self.distance == 0 and self.brighter == 0 and not self.mirrored


def near_duplicates(
    records: Records, ids: Sequence[str] | None = None, within: float = WITHIN, brighter: float = BRIGHTER
) -> tuple[Twin, ...]:
    """Twins that a deletion would leave behind, or, without ids, all twins of a table.

    Args:
      records: n rows; a generator's rows count too.
      ids: of the rows to be deleted. None: every pair of the table, once, as at ingest.
      within: the largest distance of twins, in [0, 1/2].
      brighter: the largest difference of their mean brightness, in [0, 1].

    Returns:
      Nearest first, then by ids.

    Raises:
      UserError: an unknown id, or a bound out of range.
      StopRequested: a signal arrived.
    """
    in_range(0, 0.5, within=within)
    in_range(0, 1, brighter=brighter)
    n = len(records)
    rows = np.arange(n) if ids is None else np.unique(records.rows_of(ids))
    others = rows if ids is None else np.setdiff1d(np.arange(n), rows)
    found = []
    for i, j in _candidates(records.images, rows, others, within):
        if ids is None:
            i, j = i[i < j], j[i < j]
        distance, bright, mirrored = _measured(records.images, i, j)
        kept = np.flatnonzero((distance <= within) & (np.abs(bright) <= brighter))
        names = zip(records.ids[i[kept]].tolist(), records.ids[j[kept]].tolist(), strict=True)
        values = zip(distance[kept].tolist(), bright[kept].tolist(), mirrored[kept].tolist(), strict=True)
        found += [Twin(*pair, *value) for pair, value in zip(names, values, strict=True)]
    return tuple(sorted(found, key=lambda twin: (twin.distance, abs(twin.brighter), twin.id, twin.twin)))


def _candidates(
    images: np.ndarray, rows: np.ndarray, others: np.ndarray, within: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs int64[p], int64[p] among which all twins are; if both are the same rows, each pair i < j is enough."""
    for start in range(0, len(others), BLOCK):
        there = others[start : start + BLOCK]
        views = [_thumbnails(view) for view in (images[there], images[there][:, :, ::-1])]
        for first in range(0, len(rows), BLOCK):
            safe_point()
            here = rows[first : first + BLOCK]
            if rows is others and here[0] > there[-1]:
                break  # the other half of all pairs
            x = _thumbnails(images[here])  # [b, d]
            near = np.zeros((len(here), len(there)), bool)
            for y in views:
                squares = (x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * (x @ y.T)
                near |= squares <= within**2 + 1e-5  # float32 rounds by less than 2e-6 of |x|^2 <= 1/4
            a, b = np.nonzero(near)
            yield here[a], there[b]


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """float32[n, d]: grey area means less the overall mean, scaled so that |x - y| is at most the distance."""
    grey = images.mean(axis=3, dtype=np.float64) / 255  # [n, h, w]
    grey -= grey.mean((1, 2), keepdims=True)
    for axis in (1, 2):
        size = grey.shape[axis]
        starts = np.arange(min(SIDE, size)) * size // min(SIDE, size)
        lengths = np.diff(np.append(starts, size))
        shape = [1, 1, 1]
        shape[axis] = len(starts)
        # A sum over s pixels divided by sqrt(s) is the mean times sqrt(s): a projection, in orthonormal coordinates.
        grey = np.add.reduceat(grey, starts, axis=axis)
        grey = grey / np.sqrt(lengths).reshape(shape)
    pixels = images.shape[1] * images.shape[2]
    return (grey.reshape(len(images), -1) / np.sqrt(pixels)).astype(np.float32)


def _measured(images: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance float64[p], brightness of j less that of i float64[p], and whether j is mirrored bool[p]."""
    distance, bright, mirrored = np.zeros(len(i)), np.zeros(len(i)), np.zeros(len(i), bool)
    step = max(1, PAIRS // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(i), step):
        part = slice(start, start + step)
        a, b = images[i[part]].astype(np.int32), images[j[part]].astype(np.int32)
        plain, flipped = _spread(b - a), _spread(b[:, :, ::-1] - a)
        bright[part] = (b - a).mean((1, 2, 3)) / 255
        mirrored[part] = flipped < plain
        distance[part] = np.minimum(plain, flipped) / 255
    return distance, bright, mirrored


def _spread(gap: np.ndarray) -> np.ndarray:
    """Standard deviation of whole numbers int32[p, h, w, c] along all but the first axis, 0 exactly where constant."""
    gap = gap.reshape(len(gap), -1).astype(np.int64)
    size = gap.shape[1]
    return np.sqrt(size * (gap**2).sum(1) - gap.sum(1) ** 2) / size
