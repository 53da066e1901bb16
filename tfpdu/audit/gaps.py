"""Group fairness over all groups of an attribute: gaps and ratios of rates, worst and average accuracy.

Gaps are fairlearn's differences "between groups": the largest rate less the smallest. With more than two classes each
is one versus the rest; the plain name is the worst class, `_mean` the average over the classes that can be estimated.
A group in which a rate is not estimable (no positives for TPR, no negatives for FPR) takes no part in that rate's gap.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tfpdu.audit.extremes import Ends, Largest, difference_ends, joint, largest, ratio_ends, total
from tfpdu.audit.rates import Rate

MEASURES = (
    "demographic_parity",
    "demographic_parity_ratio",
    "equal_opportunity",
    "equalized_odds",
    "worst_group_accuracy",
    "average_accuracy",
    "adjusted_accuracy",
)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A value in [0, 1] with its interval; all None where it is not estimable."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def gap(rates: Sequence[Rate], tail: float) -> tuple[Estimate, Estimate]:
    """The largest difference between two groups in any of these rates: of the worst class, and the mean of classes.

    Equal opportunity is the gap of the TPR alone, equalized odds that of TPR and FPR, demographic parity that of the
    selection rate.
    """
    classes, groups = rates[0].value.shape
    apart = np.where(np.eye(groups, dtype=bool), np.nan, 0.0)  # a group against itself is no pair
    together = [np.stack([rate.correlation(k) for k in range(classes)]) if rate.shared else 0.0 for rate in rates]
    values = np.stack([rate.value[:, :, None] - rate.value[:, None, :] + apart for rate in rates], 1)  # [K, R, G, G]
    whole = np.isfinite(values).any(axis=(2, 3)).all(1)  # every rate can be compared between some two groups
    values = np.where(whole[:, None, None, None], values, np.nan)

    def ends(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = [
            difference_ends(rate.value, *rate.ends(tails[:, None]), r) for rate, r in zip(rates, together, strict=True)
        ]
        low, high = (np.stack(side, 1).reshape(classes, -1) for side in zip(*each, strict=True))
        return low, high

    def influence(k: int, which: int) -> np.ndarray:
        rate, i, j = np.unravel_index(which, (len(rates), groups, groups))
        of_unit = rates[rate].influence(k)
        return of_unit[:, i] - of_unit[:, j]

    of_worst, mean = _worst_and_mean(values.reshape(classes, -1), ends, influence, 0.0, tail)
    return _share(of_worst), _share(mean)


def ratio(rate: Rate, tail: float) -> tuple[Estimate, Estimate]:
    """The smallest rate of a group divided by the largest: of the worst class, and the mean of classes."""
    classes, groups = rate.value.shape
    divisor = np.where(rate.value > 0, rate.value, np.nan)
    apart = np.where(np.eye(groups, dtype=bool), np.nan, 0.0)
    values = rate.value[:, :, None] / divisor[:, None, :] + apart

    def ends(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = ratio_ends(rate.value, *rate.ends(tails[:, None]))
        return -high.reshape(classes, -1), -low.reshape(classes, -1)

    def influence(k: int, which: int) -> np.ndarray:
        i, j = np.unravel_index(which, (groups, groups))
        of_unit, p, q = rate.influence(k), rate.value[k, i], rate.value[k, j]
        return p / q**2 * of_unit[:, j] - of_unit[:, i] / q

    of_worst, mean = _worst_and_mean(-values.reshape(classes, -1), ends, influence, -1.0, tail)
    return _share(of_worst, -1.0), _share(mean, -1.0)


def worst(rate: Rate, tail: float) -> Estimate:
    """The lowest rate of any group, e.g. worst-group accuracy (Sagawa et al. 2020)."""

    def ends(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = rate.ends(tails[:, None])
        return -high, -low

    return _share(_estimate(largest(-rate.value, ends, tail)), -1.0)


def average(rate: Rate, tail: float) -> Estimate:
    """The mean over the groups, each of the same weight: the "unbiased" accuracy of Nam et al. 2020.

    Sagawa et al. 2020 call another mean adjusted, whose weights are the groups' shares of the training rows.
    """
    p, (low, high) = rate.value[0], (side[0] for side in rate.ends(tail))
    used = ~np.isnan(p)
    if not used.any():
        return Estimate()
    influences, value, groups = rate.influence(0)[:, used], float(p[used].mean()), int(used.sum())
    reach = [joint(distance[used], influences) / groups for distance in (p - low, high - p)]
    return _share(Estimate(value, value - reach[0], value + reach[1]))


def _worst_and_mean(
    values: np.ndarray, ends: Ends, influence: Callable[[int, int], np.ndarray], least: float, tail: float
) -> tuple[Estimate, Estimate]:
    """Of numbers [K, m], at least `least`: the largest of all, and the mean over the classes of the largest of each."""
    classes = len(values)

    def all_ends(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = ends(np.repeat(tails, classes))
        return low.reshape(1, -1), high.reshape(1, -1)

    of_all = _estimate(largest(values.reshape(1, -1), all_ends, tail))
    if classes == 1 or of_all.value is None:
        return of_all, of_all
    each = largest(values, ends, tail)
    used = np.flatnonzero(np.isfinite(each.value))
    each = each.take(used)
    influences = np.stack([influence(k, which) for k, which in zip(used, each.which, strict=True)], 1)
    low, high = (end / len(used) for end in total(each, influences, least))
    value = float(each.value.mean())
    return of_all, Estimate(value, low, max(high, value))


def _estimate(found: Largest) -> Estimate:
    if not np.isfinite(found.value[0]):
        return Estimate()
    return Estimate(float(found.value[0]), float(found.low[0]), float(found.high[0]))


def _share(estimate: Estimate, sign: float = 1.0) -> Estimate:
    """The estimate, or its negative, with the ends of its interval inside [0, 1]."""
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    return Estimate(abs(estimate.value), min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0))
