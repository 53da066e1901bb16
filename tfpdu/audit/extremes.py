"""Intervals of the largest of several uncertain numbers: a gap between groups, a ratio, a worst group.

The largest of noisy numbers is too large on average, and a bootstrap of it is too large twice, so that its interval
leaves out the truth wherever groups are equal. Here instead (following [1]):
  upper end: the highest of the upper ends, each as if it stood alone; the truly largest one's end is among them.
  lower end: the highest of the lower ends, each with its tail divided by the number of contenders, which are those
      whose interval reaches up to the best one's.
Where one number stands out this is its own interval. Gaps and ratios of two rates get theirs from the rates' own ends
[2, 3], which are never points, even of two rows that agree.

References:
  [1] Chernozhukov, Lee, Rosen. Intersection bounds: estimation and inference. 2013.
  [2] Zou, Donner. Construction of confidence limits about effect measures: a general approach. 2008 (MOVER).
  [3] Donner, Zou. Closed-form confidence intervals for functions of the normal mean and standard deviation. 2012.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

Ends = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # tails [T] -> low and high, each [T, m]


@dataclasses.dataclass(frozen=True)
class Largest:
    """The largest of m numbers in each of T terms, all float[T]; -inf where there is none.

    Attributes:
      value: the largest estimate.
      middle: the lower end at a tail of one half: the estimate without what picking the largest adds to it.
      low: lower end.
      high: upper end.
      which: int[T], where the largest is.
    """

    value: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    which: np.ndarray

    def take(self, rows: np.ndarray) -> "Largest":
        """Some of the terms."""
        return Largest(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def largest(values: np.ndarray, ends: Ends, tail: float) -> Largest:
    """The largest of each row's numbers.

    Args:
      values: float[T, m]; NaN is no number.
      ends: gives both ends of each number's interval for a tail per row.
      tail: the chance left beyond either end, e.g. 0.025.
    """
    none = np.isnan(values)

    def at(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = ends(tails)
        return np.where(none, -np.inf, low), np.where(none, -np.inf, high)

    low, high = at(np.full(len(values), tail))
    contenders = np.maximum(((high >= low.max(1, keepdims=True)) & ~none).sum(1), 1)
    values = np.where(none, -np.inf, values)
    return Largest(
        value=values.max(1),
        middle=at(0.5 / contenders)[0].max(1),
        low=at(tail / contenders)[0].max(1),
        high=high.max(1),
        which=values.argmax(1),
    )


def difference_ends(
    value: np.ndarray, low: np.ndarray, high: np.ndarray, correlation: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of p_i - p_j for all pairs [2]: float[K, G] each and correlation[K, G, G] -> [K, G, G] each."""
    below, above = value - low, high - value
    gap = value[:, :, None] - value[:, None, :]

    def reach(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
        a, b = mine[:, :, None], other[:, None, :]
        return np.sqrt(np.maximum(a**2 + b**2 - 2 * correlation * a * b, 0))

    return gap - reach(below, above), gap + reach(above, below)


def ratio_ends(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of p_i / p_j for all pairs [3]: float[K, G] each -> [K, G, G] each, at least 0 and cut at 2.

    They pass 1 on purpose: a sum of ratios near 1 would be too sure of itself with ends that are cut there.
    """
    p, q = value[:, :, None], value[:, None, :]
    low_p, high_p, low_q, high_q = low[:, :, None], high[:, :, None], low[:, None, :], high[:, None, :]
    both = p * q
    down, up = low_p * (2 * p - low_p), high_p * (2 * p - high_p)
    below = both + np.sqrt(np.maximum(both**2 - down * high_q * (2 * q - high_q), 0))
    above = both + np.sqrt(np.maximum(both**2 - up * low_q * (2 * q - low_q), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = np.where(down > 0, down / below, 0.0)
        upper = np.where(low_q > 0, above / (low_q * (2 * q - low_q)), 2.0)
    return np.clip(lower, 0, 2), np.clip(upper, 0, 2)


def joint(distances: np.ndarray, influences: np.ndarray) -> float:
    """How far a sum reaches whose terms reach this far each: sqrt(d' R d), R the correlation of the terms' influences.

    Args:
      distances: float[T], at least 0.
      influences: float[units, T]: what each row or person adds to the error of each term.
    """
    norms = np.sqrt((influences**2).sum(0))
    alone = norms <= 0
    together = (influences / np.where(alone, 1, norms) * np.where(alone, 0, distances)).sum(1)
    return float(np.sqrt((together**2).sum() + (distances[alone] ** 2).sum()))


def total(terms: Largest, influences: np.ndarray, least: float) -> tuple[float, float]:
    """Both ends of the interval of the sum of all terms' largest numbers, each of which is at least `least`.

    Args:
      terms: T of them, all finite.
      influences: float[units, T], of the largest number of each term.
      least: what a term cannot be below.
    """
    low = terms.middle.sum() - joint(terms.middle - terms.low, influences)
    middle = np.maximum(terms.middle, least)
    return float(low), float(middle.sum() + joint(np.maximum(terms.high - middle, 0), influences))
