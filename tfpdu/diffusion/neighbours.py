"""Exact nearest neighbours among many points, in bounded memory.

The distance of two images is |f(a) - f(b)| / sqrt(d), where f has d features: the root mean square difference of a
feature. In pixels scaled to [0, 1] it lies in [0, 1], and 1/255 is one grey level.

Candidates are found by float32 matrix products and measured again in float64 by differences, so that an exact copy
is at exactly 0. A bound on the products' rounding says where a candidate may have been missed; those points are
searched again in float64.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.data.storage import Images, ImageStore
from tfpdu.diffusion.features import PIXELS, Extractor, checked_images

BLOCK = 1024  # most points handled at a time on either side
VALUES = 2**22  # most numbers in a block of points: 32 MB of float64
SPARE = 14  # candidates kept beyond the k nearest
UNIT = float(np.finfo(np.float32).eps) / 2  # relative error of one float32 rounding
EXACT = float(np.finfo(np.float64).eps) / 2  # and of one in float64


@dataclasses.dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest rows of each of m samples.

    Attributes:
      distances: float64[m, k], rising along each row.
      rows: int64[m, k], their row numbers; which one stands first among equally near ones is arbitrary.
    """

    distances: np.ndarray
    rows: np.ndarray


class Search:
    """Looks for neighbours among fixed rows; features of a model are computed once.

    Args:
      rows: uint8[n, h, w, c]; pictures on disk are read in blocks.
      flips: a row and its mirror image, left to right, count as one, at the smaller of the two distances.
      extractor: what distances are measured in.
    """

    def __init__(self, rows: Images, flips: bool, extractor: Extractor = PIXELS):
        self._images, self._extractor = rows if isinstance(rows, ImageStore) else checked_images(rows), extractor
        sides = (False, True) if flips else (False,)
        self._views = [_points_of(self._images, extractor, mirrored) for mirrored in sides]

    def __len__(self) -> int:
        return len(self._images)

    def nearest(self, samples: np.ndarray, k: int = 2) -> Neighbours:
        """The k nearest rows of each sample.

        Args:
          samples: uint8[m, h, w, c].
          k: at least 1.

        Raises:
          UserError: fewer than k rows, or images of different sizes.
          StopRequested: a signal arrived.
        """
        samples = checked_images(samples, self._images)
        return nearest_points(_points_of(samples, self._extractor), self._views, k)


def nearest_distances(
    samples: np.ndarray, rows: Images, flips: bool, k: int = 2, extractor: Extractor = PIXELS
) -> Neighbours:
    """The k nearest rows of each sample: `Search(rows, flips, extractor).nearest(samples, k)`."""
    return Search(rows, flips, extractor).nearest(samples, k)


class Points:
    """A table of points float[n, d] that is read in blocks; images in pixels are turned into numbers only then.

    Args:
      table: float[n, d], or images uint8[n, h, w, c].
      extractor: of images: in memory are the points of one block.
      mirrored: images are mirrored left to right first.
    """

    def __init__(self, table: Images, extractor: Extractor | None = None, mirrored: bool = False):
        self._table, self._extractor, self._mirrored = table, extractor, mirrored

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        """float64[b, d]."""
        part = self._table[where]
        part = part[:, :, ::-1] if self._mirrored else part
        return np.asarray(part if self._extractor is None else self._extractor.features(part), np.float64)

    @property
    def width(self) -> int:
        """d, the number of features."""
        return int(np.prod(self._table.shape[1:]))

    def blocks(self) -> Iterator[slice]:
        """Slices that cover the table."""
        size = max(1, min(BLOCK, VALUES // self.width))
        return (slice(start, min(start + size, len(self))) for start in range(0, len(self), size))


def nearest_points(points: Points, views: list[Points], k: int) -> Neighbours:
    """The k nearest rows of each point.

    Args:
      points: m points.
      views: tables of n rows each; row i of all of them is one neighbour, at the least of its distances.
      k: at least 1.

    Raises:
      UserError: fewer than k rows.
    """
    n = len(views[0])
    if not 1 <= k <= n:
        raise UserError(f"nearest neighbours: {k} wanted, there are {n} rows")
    distances, rows = np.empty((len(points), k)), np.empty((len(points), k), np.int64)
    centre = views[0][next(views[0].blocks())].mean(axis=0)  # subtracted: smaller products round less
    for block in points.blocks():
        safe_point()
        here = points[block]
        found, least = _candidates(here, views, centre, min(n, k + SPARE))
        squares = measured(here, views, found)
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        squares, found = np.take_along_axis(squares, order, 1), np.take_along_axis(found, order, 1)
        for i in np.flatnonzero(~((squares[:, -1] <= least) | (squares[:, -1] == 0))):
            squares[i], found[i] = _searched(here[i], views, k)
        distances[block], rows[block] = np.sqrt(squares / points.width), found
    return Neighbours(distances, rows)


def _candidates(here: np.ndarray, views: list[Points], centre: np.ndarray, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64[b, keep] likely nearest rows, float64[b]: no other row's squared distance is below this)."""
    x = (here - centre).astype(np.float32)  # [b, d]
    norms = np.einsum("bd,bd->b", x, x)
    best = np.full((len(x), keep), np.inf, np.float32)
    which = np.zeros((len(x), keep), np.int64)
    longest = 0.0
    for block in views[0].blocks():
        squares = np.full((len(x), block.stop - block.start), np.inf, np.float32)
        for view in views:
            y = (view[block] - centre).astype(np.float32)  # [r, d]
            lengths = np.einsum("rd,rd->r", y, y)
            longest = max(longest, float(lengths.max()))
            np.minimum(squares, norms[:, None] + lengths - 2 * (x @ y.T), out=squares)
        every = np.concatenate([best, squares], axis=1)
        places = np.broadcast_to(np.arange(block.start, block.stop), squares.shape)
        chosen = np.argpartition(every, keep - 1, axis=1)[:, :keep]
        best = np.take_along_axis(every, chosen, 1)
        which = np.take_along_axis(np.concatenate([which, places], axis=1), chosen, 1)
    if keep == len(views[0]):
        return which, np.full(len(x), np.inf)
    # |x|^2 + |y|^2 - 2 x.y in float32 is off by less than (d + 16) roundings of (|x| + |y|)^2.
    error = (x.shape[1] + 16) * UNIT * (np.sqrt(norms, dtype=np.float64) + np.sqrt(longest)) ** 2
    return which, best.max(axis=1) - error


def measured(here: np.ndarray, views: list[Points], which: np.ndarray) -> np.ndarray:
    """Squared distances of points float64[b, d] to the rows `which` int64[b, r], by differences: float64[b, r]."""
    squares = np.full(which.shape, np.inf)
    for column in range(which.shape[1]):
        for view in views:
            gap = here - view[which[:, column]]  # [b, d]
            np.minimum(squares[:, column], np.square(gap, out=gap).sum(axis=1), out=squares[:, column])
    return squares


def ball_counts(points: Points, centres: Points, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points lie in which closed balls.

    Pairs that rounding leaves open are measured by differences, as the distances of `nearest_points` are: a point at
    exactly the radius is inside.

    Args:
      points: m points; centres: n of them.
      radii: float64[n], distances as defined above.

    Returns:
      (int64[m], the balls that each point is in; int64[n], the points in each ball).
    """
    of_points, of_balls = np.zeros(len(points), np.int64), np.zeros(len(centres), np.int64)
    for block in points.blocks():
        safe_point()
        x = points[block]
        norms = np.einsum("bd,bd->b", x, x)
        for other in centres.blocks():
            y, radius = centres[other], radii[other]
            lengths = np.einsum("rd,rd->r", y, y)
            margin = norms[:, None] + lengths - 2 * (x @ y.T) - points.width * radius**2  # [b, r]
            error = (points.width + 16) * EXACT * (np.sqrt(norms)[:, None] + np.sqrt(lengths) + 1e-150) ** 2
            inside = margin <= 0
            unsure = np.argwhere(np.abs(margin) <= error + points.width * EXACT * 8 * radius**2)
            for start in range(0, len(unsure), BLOCK):
                i, j = unsure[start : start + BLOCK].T
                inside[i, j] = np.sqrt(np.square(x[i] - y[j]).sum(axis=1) / points.width) <= radius[j]
            of_points[block] += inside.sum(axis=1)
            of_balls[other] += inside.sum(axis=0)
    return of_points, of_balls


def _searched(point: np.ndarray, views: list[Points], k: int) -> tuple[np.ndarray, np.ndarray]:
    """(squared distances float64[k], rows int64[k]) of one point, by differences to every row."""
    squares = np.full(len(views[0]), np.inf)
    for view in views:
        for block in view.blocks():
            squares[block] = np.minimum(squares[block], np.square(view[block] - point).sum(axis=1))
    order = np.argsort(squares, kind="stable")[:k]
    return squares[order], order


def _points_of(images: Images, extractor: Extractor, mirrored: bool = False) -> Points:
    """Pixels stay where they are; features of a model are computed here, of pictures on disk block by block."""
    points = Points(images, extractor, mirrored)
    if extractor is PIXELS:
        return points
    if isinstance(images, ImageStore):
        return Points(np.concatenate([extractor(_side(images[block], mirrored)) for block in points.blocks()]))
    return Points(extractor(_side(images, mirrored)))


def _side(images: np.ndarray, mirrored: bool) -> np.ndarray:
    return images[:, :, ::-1] if mirrored else images
