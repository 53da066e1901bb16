"""How near generated images are to real ones: kernel distance, precision, recall, density and coverage.

All of them in the features of a named extractor. A kernel distance in other features than Inception's is not the
published KID, precision and the others depend on how many images either set has: compare only results with the same
extractor and the same numbers of images.

References:
  [1] Binkowski, Sutherland, Arbel, Gretton. Demystifying MMD GANs. 2018 (KID, section 4).
  [2] Zaremba, Gretton, Blaschko. B-tests: low variance kernel two-sample tests. 2013.
  [3] Kynkaanniemi, Karras, Laine, Lehtinen, Aila. Improved precision and recall metric. 2019, eqs 1-2.
  [4] Naeem, Oh, Uh, Choi, Yoo. Reliable fidelity and diversity metrics for generative models. 2020, eqs 3-4.
"""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.common.seeds import rng
from tfpdu.common.validation import positive
from tfpdu.diffusion.features import Extractor, checked_images
from tfpdu.diffusion.neighbours import Points, ball_counts, nearest_points


@dataclasses.dataclass(frozen=True)
class Fidelity:
    """Generated against real images, in one extractor's features.

    Attributes:
      extractor: its name.
      real: how many real images.
      generated: how many generated ones.
      kid: squared kernel distance, unbiased, so slightly below 0 at times for equal distributions.
      kid_se: its standard error.
      precision: share of generated images inside the real manifold [3].
      recall: share of real images inside the generated manifold [3].
      density: mean number of real balls around a generated image over k [4]; 1 for equal distributions, may exceed it.
      coverage: share of real images with a generated one in their ball [4].
    """

    extractor: str
    real: int
    generated: int
    kid: float
    kid_se: float
    precision: float
    recall: float
    density: float
    coverage: float


def measure_fidelity(
    real: np.ndarray, generated: np.ndarray, extractor: Extractor, *, blocks: int = 10, seed: int = 0
) -> Fidelity:
    """All measures of this module, with the customary numbers of neighbours (3 and 5).

    Args:
      real: uint8[n, h, w, c], best rows that the generator was not trained on: a copying generator is no better.
      generated: uint8[m, h, w, c].
      extractor: best one trained on yet other rows.
      blocks: of the standard error, see `kernel_distance`.
      seed: deals the images to the blocks.

    Raises:
      UserError: images that do not fit, or fewer than 6 on either side.
    """
    real = checked_images(real)
    x, y = extractor(real), extractor(checked_images(generated, real))
    kid, kid_se = kernel_distance(x, y, blocks, seed)
    precision, recall = precision_recall(x, y)
    density, coverage = density_coverage(x, y)
    return Fidelity(extractor.name, len(x), len(y), kid, kid_se, precision, recall, density, coverage)


def kernel_distance(real: np.ndarray, generated: np.ndarray, blocks: int = 10, seed: int = 0) -> tuple[float, float]:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 [1], the KID of these features, and its standard error.

    The value uses every pair of points but no point with itself. Its error is that of a mean over disjoint blocks of
    the points [2], each with its own unbiased estimate: right when the distributions differ, too large when they are
    equal.

    Args:
      real: float[n, d]; generated: float[m, d]; at least 4 points each.
      blocks: how many; fewer where blocks would have less than 2 points.
      seed: deals the points to the blocks.

    Returns:
      (value, standard error).

    Raises:
      UserError: too few points, or points of different widths.
    """
    positive(blocks=blocks)
    x, y = _points(real, generated, 4)
    count = int(max(2, min(blocks, len(x) // 2, len(y) // 2)))
    dealt = [np.array_split(rng("kernel distance", seed, len(s)).permutation(len(s)), count) for s in (x, y)]
    parts = [_unbiased(Points(x[i]), Points(y[j])) for i, j in zip(*dealt, strict=True)]
    return _unbiased(x, y), float(np.std(parts, ddof=1) / np.sqrt(count))


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall [3].

    A set's manifold is the union of closed balls around its points, each as wide as the distance to the k-th nearest
    other point of the set.

    Args:
      real: float[n, d]; generated: float[m, d].
      k: at least 1.

    Returns:
      (share of generated points in the real manifold, share of real points in the generated manifold).

    Raises:
      UserError: k or fewer points on either side, or points of different widths.
    """
    x, y = _points(real, generated, k + 1)
    precision = np.mean(ball_counts(y, x, _radii(x, k))[0] > 0)
    recall = np.mean(ball_counts(x, y, _radii(y, k))[0] > 0)
    return float(precision), float(recall)


def density_coverage(real: np.ndarray, generated: np.ndarray, k: int = 5) -> tuple[float, float]:
    """Density and coverage [4], with closed balls around the real points as in `precision_recall`.

    Of a set against itself the density is (k + 1) / k, since every point is in its own ball; against fresh points of
    the same distribution it is 1 on average.

    Args:
      real: float[n, d]; generated: float[m, d], of any number.
      k: at least 1.

    Returns:
      (mean number of balls around a generated point, over k; share of balls with a generated point in them).

    Raises:
      UserError: k or fewer real points, none generated, or points of different widths.
    """
    x, y = _points(real, generated, k + 1, 1)
    of_points, of_balls = ball_counts(y, x, _radii(x, k))
    return float(of_points.mean() / k), float(np.mean(of_balls > 0))


def _unbiased(x: Points, y: Points) -> float:
    n, m = len(x), len(y)
    own = (_kernel_sum(x, x) - _kernel_diagonal(x)) / (n * (n - 1))
    other = (_kernel_sum(y, y) - _kernel_diagonal(y)) / (m * (m - 1))
    return own + other - 2 * _kernel_sum(x, y) / (n * m)


def _kernel_sum(x: Points, y: Points) -> float:
    """Sum of the kernel over all pairs, block by block."""
    total = 0.0
    for block in x.blocks():
        safe_point()
        here = x[block]
        total += sum(float(((here @ y[other].T / x.width + 1) ** 3).sum()) for other in y.blocks())
    return total


def _kernel_diagonal(x: Points) -> float:
    return sum(float(((np.square(x[block]).sum(axis=1) / x.width + 1) ** 3).sum()) for block in x.blocks())


def _radii(x: Points, k: int) -> np.ndarray:
    """Distance of each point to its k-th nearest other one, float64[n]: the nearest of all is the point itself."""
    return nearest_points(x, [x], k + 1).distances[:, k]


def _points(real: Any, generated: Any, least: int, least_generated: int | None = None) -> tuple[Points, Points]:
    tables = np.asarray(real), np.asarray(generated)
    leasts = least, least if least_generated is None else least_generated
    for name, table, count in zip(("real", "generated"), tables, leasts, strict=True):
        if table.ndim != 2 or not table.shape[-1]:
            raise UserError(f"fidelity: expected {name} points of shape [n, d], got {list(table.shape)}")
        if len(table) < count:
            raise UserError(f"fidelity: {len(table)} {name} images, at least {count} are needed")
        if not np.isfinite(table).all():
            raise UserError(f"fidelity: the {name} points have NaN or infinity")
    if tables[0].shape[1] != tables[1].shape[1]:
        raise UserError(
            f"fidelity: real points have {tables[0].shape[1]} features, generated ones {tables[1].shape[1]}"
        )
    return Points(tables[0]), Points(tables[1])
