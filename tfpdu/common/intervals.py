"""Intervals of proportions and of areas under a ROC curve that need nothing but counts, and of means.

References:
  [1] Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. 1934.
  [2] Hanley, McNeil. The meaning and use of the area under a ROC curve. 1982.
  [3] Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2. 2006.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from tfpdu.common.errors import UserError


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a binomial proportion [1].

    Args:
      successes: count in 0..trials.
      trials: count of at least 1.
      confidence: in (0, 1); the interval covers at least this often, for every proportion.

    >>> [round(end, 4) for end in clopper_pearson(45, 100)]
    [0.3503, 0.5527]
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise UserError(f"clopper_pearson: {successes} successes of {trials} trials is not possible")
    low, high = proportion_ends(successes, trials, (1 - between_0_and_1(confidence)) / 2)
    return float(low), float(high)


def proportion_ends(successes: Any, trials: Any, tail: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of Clopper and Pearson's interval for arrays of counts, which need not be whole numbers.

    Args:
      successes: 0..trials, any shape.
      trials: at least 0; without trials the ends are 0 and 1.
      tail: the chance left beyond either end, in (0, 0.5]; broadcasts with the counts.

    Returns:
      low and high, in the shape that all three broadcast to.
    """
    x, n, tail = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (successes, trials, tail)))
    none, all_ = x <= 0, x >= n
    with np.errstate(invalid="ignore"):
        low = special.betaincinv(np.where(none, 1.0, x), np.where(none, 1.0, n - x + 1), tail)
        high = special.betaincinv(np.where(all_, 1.0, x + 1), np.where(all_, 1.0, n - x), 1 - tail)
    return np.where(none, 0.0, low), np.where(all_, 1.0, high)


def student(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Mean of at least two values and half the width of Student's t interval, which takes them as normal.

    >>> [round(number, 3) for number in student([1.0, 2.0, 3.0])]
    [2.0, 2.484]
    """
    n = len(values)
    quantile = float(stats.t.ppf((1 + between_0_and_1(confidence)) / 2, n - 1))
    return float(np.mean(values)), float(np.std(values, ddof=1)) / float(np.sqrt(n)) * quantile


def hanley_mcneil_se(value: float, n_members: int, n_nonmembers: int) -> float:
    """Standard error of an AUC from the AUC and the counts alone [2, eq. 1]."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + (n_members - 1) * (q1 - value**2) + (n_nonmembers - 1) * (q2 - value**2)
    return float(np.sqrt(max(variance, 0.0) / (n_members * n_nonmembers)))


def auc_interval(value: float, n_members: int, n_nonmembers: int, confidence: float = 0.95) -> tuple[float, float]:
    """The values of an AUC from which the one seen is not surprising under Hanley and McNeil's error [3, method 5].

    Solves |value - t| = z * se(t) for t on either side, so it stays in [0, 1] and is no point at 0 and 1.
    """
    z = float(special.ndtri((1 + between_0_and_1(confidence)) / 2))
    half = (n_members + n_nonmembers) / 2

    def se(t: float) -> float:
        spread = 1 + (half - 1) * ((1 - t) / (2 - t) + t / (1 + t))
        return float(np.sqrt(t * (1 - t) * spread / (n_members * n_nonmembers)))

    tiny = 1e-12  # the value itself solves the equation where se is 0, so the search starts beside it
    low = 0.0 if value <= tiny else float(optimize.brentq(lambda t: value - t - z * se(t), 0.0, value - tiny))
    high = 1.0 if value >= 1 - tiny else float(optimize.brentq(lambda t: t - value - z * se(t), value + tiny, 1.0))
    return low, high


def between_0_and_1(confidence: float) -> float:
    """The confidence itself; raises unless it lies strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise UserError(f"confidence: expected a number between 0 and 1, got {confidence}")
    return confidence
