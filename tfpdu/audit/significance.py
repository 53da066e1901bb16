"""Could scores that have nothing to do with membership look like this? Permutation p-values, and many of them at once.

The hypothesis is always that members and non-members are exchangeable: any n1 of the n1 + n0 scores could have been the
members'. Tests are two-sided, since a leak in reverse is a leak.

References:
  [1] Wilcoxon. Individual comparisons by ranking methods. 1945; Mann, Whitney. 1947.
  [2] Streitberg, Roehmel. Exact distributions for permutation and rank tests. 1986 (the shift algorithm; ties allowed).
  [3] Fisher. The logic of inductive inference. 1935.
  [4] Phipson, Smyth. Permutation p-values should never be zero. 2010.
  [5] Holm. A simple sequentially rejective multiple test procedure. 1979.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import special, stats

from tfpdu.audit.statistics import scores
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import rng
from tfpdu.common.validation import positive

EXACT_ROWS = 60  # members and non-members together, up to which the AUC's p-value is exact


def auc_p_value(members: Any, nonmembers: Any) -> float:
    """Two-sided permutation p-value of the AUC: how often is a random relabelling as far from 1/2 or farther?

    Exact up to `EXACT_ROWS` rows, ties included [2]. Above, the normal approximation of the rank sum [1] with the
    correction for ties and for continuity, which at that size is within 0.005 of the exact value.

    Args:
      members: float[n1].
      nonmembers: float[n0].
    """
    x, y = scores(members, "members"), scores(nonmembers, "nonmembers")
    n1, n = len(x), len(x) + len(y)
    doubled = np.rint(2 * stats.rankdata(np.concatenate([x, y]))).astype(np.int64)  # whole, also where scores tie
    middle = n1 * (n + 1)  # the mean of the sum of n1 doubled ranks
    distance = abs(int(doubled[:n1].sum()) - middle)
    if n <= EXACT_ROWS:
        counts = _rank_sums(doubled, n1)
        far = np.abs(np.arange(len(counts)) - middle) >= distance
        return float(min(1.0, counts[far].sum() / counts.sum()))
    variance = n1 * (n - n1) / (n * (n - 1)) * float(((doubled - (n + 1)) ** 2).sum())
    if variance <= 0:
        return 1.0
    return float(min(1.0, 2 * special.ndtr(-max(0.0, distance - 1) / math.sqrt(variance))))


def success_p_value(members: Any, nonmembers: Any, threshold: float) -> float:
    """Two-sided permutation p-value of the balanced success rate at a threshold that was fixed without these scores.

    Exact at any size: of as many rows called members, the number of true ones is hypergeometric, as in Fisher's exact
    test [3]; outcomes count as at least as surprising when the rate is as far from 1/2 or farther.
    """
    x, y = scores(members, "members"), scores(nonmembers, "nonmembers")
    n1, n0 = len(x), len(y)
    hits, called = int((x >= threshold).sum()), int((x >= threshold).sum() + (y >= threshold).sum())
    possible = np.arange(max(0, called - n0), min(n1, called) + 1)
    # (TPR - FPR) n1 n0 in whole numbers, so that equally far outcomes are equal.
    far = np.abs(possible * (n0 + n1) - called * n1) >= abs(hits * (n0 + n1) - called * n1)
    return float(min(1.0, stats.hypergeom.pmf(possible[far], n1 + n0, n1, called).sum()))


def permutation_p_value(
    members: Any,
    nonmembers: Any,
    statistic: Callable[[np.ndarray, np.ndarray], float],
    seed: int,
    draws: int = 9999,
) -> float:
    """One-sided permutation p-value of any statistic that is large for a leak, such as the best in-sample success rate.

    Exact where there are at most `draws` ways to choose the members; otherwise (1 + the draws with as large a
    statistic) / (1 + draws), which is never 0 [4].

    Args:
      members: float[n1].
      nonmembers: float[n0].
      statistic: (members, nonmembers) -> number.
      seed: of the relabellings.
      draws: how many.
    """
    positive(draws=draws)
    x, y = np.sort(scores(members, "members")), np.sort(scores(nonmembers, "nonmembers"))
    pooled, n1 = np.concatenate([x, y]), len(x)
    seen = statistic(x, y) - 1e-12  # equal statistics may differ in the last digit
    if math.comb(len(pooled), n1) <= draws:
        every = (_parted(pooled, np.array(chosen)) for chosen in itertools.combinations(range(len(pooled)), n1))
        return float(np.mean([statistic(*parts) >= seen for parts in every]))
    generator = rng(seed, "permutation test")
    drawn = (_parted(pooled, generator.permutation(len(pooled))[:n1]) for _ in range(draws))
    return (1 + sum(statistic(*parts) >= seen for parts in drawn)) / (1 + draws)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values [5]: those up to alpha are significant with a family-wise error of at most alpha.

    Valid however the tests depend on each other. None (no p-value) stays None and is not counted.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = [i for i, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[i] for i in known], np.float64)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise UserError("holm: expected p-values from 0 to 1")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    adjusted: list[float | None] = [None] * len(p_values)
    for place, value in zip(order, stepped, strict=True):
        adjusted[known[place]] = float(value)
    return adjusted


def _rank_sums(doubled: np.ndarray, n1: int) -> np.ndarray:
    """How many of the choices of n1 rows have each sum of doubled ranks, float64 [sum]; the shift algorithm."""
    total = int(np.sort(doubled)[-n1:].sum())
    counts = np.zeros((n1 + 1, total + 1))
    counts[0, 0] = 1
    for rank in np.sort(doubled):
        counts[1:, rank:] += counts[:-1, : total + 1 - rank].copy()
    return counts[n1]


def _parted(pooled: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros(len(pooled), bool)
    mask[chosen] = True
    return pooled[mask], pooled[~mask]
