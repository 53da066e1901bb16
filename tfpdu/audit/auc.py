"""Area under the ROC curve, with an interval.

References:
  [1] DeLong, DeLong, Clarke-Pearson. Comparing the areas under two or more correlated ROC curves. 1988.
  [2] Hanley, McNeil. The meaning and use of the area under a ROC curve. 1982.
  [3] Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2. 2006.
  [4] Qin, Hotilovac. Comparison of non-parametric confidence intervals for the area under the ROC curve. 2008.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.statistics import scores
from tfpdu.common.intervals import auc_interval, between_0_and_1


@dataclasses.dataclass(frozen=True)
class Auc:
    """Probability that a random member scores above a random non-member; a tie counts one half.

    Attributes:
      value: in [0, 1]. Below 0.5 it is left as it is: a leak in reverse is a leak.
      ci_low: lower end of the interval.
      ci_high: upper end.
      se: DeLong's standard error [1].
    """

    value: float
    ci_low: float
    ci_high: float
    se: float


def auc(members: Any, nonmembers: Any, confidence: float = 0.95) -> Auc:
    """AUC by the Mann-Whitney statistic, in O(n log n), ties counted one half.

    The interval is DeLong's [1] on the logit scale [4], which makes no assumption on the scores' distribution. Where
    DeLong's error is 0 (groups wholly apart, or all scores equal) that interval would be a point; there it is
    Newcombe's [3]: the values from which the one seen is not surprising under Hanley and McNeil's error [2].

    Args:
      members: float[n1] scores.
      nonmembers: float[n0] scores.
      confidence: of the two-sided interval.
    """
    x, y = scores(members, "members"), scores(nonmembers, "nonmembers")
    of_members, of_nonmembers = _placements(x, np.sort(y)), _placements(y, np.sort(x))
    value = float(of_members.mean())
    se = _delong_se(of_members, of_nonmembers)
    z = float(special.ndtri((1 + between_0_and_1(confidence)) / 2))
    if se > 0 and 0 < value < 1:
        half = z * se / (value * (1 - value))
        low, high = special.expit(special.logit(value) + np.array([-half, half]))
        return Auc(value, float(low), float(high), se)
    low, high = auc_interval(value, len(x), len(y), confidence)
    return Auc(value, low, high, se)


def _placements(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """For each value the share of the sorted reference below it, ties one half. float64[n]."""
    below = np.searchsorted(reference, values, side="left")
    up_to = np.searchsorted(reference, values, side="right")
    return (below + up_to) / (2 * len(reference))


def _delong_se(of_members: np.ndarray, of_nonmembers: np.ndarray) -> float:
    if min(len(of_members), len(of_nonmembers)) < 2:
        return 0.0
    variance = of_members.var(ddof=1) / len(of_members) + of_nonmembers.var(ddof=1) / len(of_nonmembers)
    return float(np.sqrt(variance)) if variance > 1e-24 else 0.0
