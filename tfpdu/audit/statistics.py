"""Rates, thresholds and their uncertainty, for scores where higher means "member".

Throughout, `members` and `nonmembers` are float vectors of scores, and a row is called a member when its score is at
least the threshold. Intervals are two-sided. NaN scores are refused; infinite ones are allowed.

References:
  [1] Clopper, Pearson: `tfpdu.common.intervals.clopper_pearson`.
  [2] Zou, Donner. Construction of confidence limits about effect measures: a general approach. 2008 (MOVER).
"""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.intervals import between_0_and_1, clopper_pearson
from tfpdu.common.validation import in_range


@dataclasses.dataclass(frozen=True)
class SuccessRate:
    """Balanced success rate of one attack at one threshold.

    Attributes:
      success_rate: (tpr + tnr) / 2, in [0, 1]; 0.5 is guessing.
      tpr: share of members called members.
      tnr: share of non-members called non-members.
      ci_low: lower end of the interval of `success_rate`.
      ci_high: upper end.
      threshold: a row is called a member when its score is at least this.
      n_members: how many members were scored.
      n_nonmembers: how many non-members were scored.
    """

    success_rate: float
    tpr: float
    tnr: float
    ci_low: float
    ci_high: float
    threshold: float
    n_members: int
    n_nonmembers: int


def balanced_interval(
    true_positives: int,
    members: int,
    true_negatives: int,
    nonmembers: int,
    confidence: float = 0.95,
    method: str = "mover",
) -> tuple[float, float]:
    """Interval of (TPR + TNR) / 2, an average of two independent binomial proportions.

    Args:
      true_positives: members called members.
      members: how many members.
      true_negatives: non-members called non-members.
      nonmembers: how many non-members.
      confidence: in (0, 1).
      method: "mover" combines the two exact intervals by the squared distances of their ends [2, eq. 3]: close to the
        nominal coverage, a little above it. "box" averages the ends of exact intervals at sqrt(confidence) each: sure
        to cover, and wide.
    """
    p1, p0 = true_positives / max(members, 1), true_negatives / max(nonmembers, 1)
    if method == "box":
        each = float(np.sqrt(between_0_and_1(confidence)))
        low1, high1 = clopper_pearson(true_positives, members, each)
        low0, high0 = clopper_pearson(true_negatives, nonmembers, each)
        return (low1 + low0) / 2, (high1 + high0) / 2
    if method != "mover":
        raise UserError(f"balanced_interval: unknown method {method!r}; known: box, mover")
    low1, high1 = clopper_pearson(true_positives, members, confidence)
    low0, high0 = clopper_pearson(true_negatives, nonmembers, confidence)
    centre = (p1 + p0) / 2
    return (
        max(0.0, centre - float(np.hypot(p1 - low1, p0 - low0)) / 2),
        min(1.0, centre + float(np.hypot(high1 - p1, high0 - p0)) / 2),
    )


def success_rate(members: Any, nonmembers: Any, threshold: float, confidence: float = 0.95) -> SuccessRate:
    """Balanced success rate of the rule "member when score >= threshold", with its MOVER interval.

    The interval holds for a threshold that was fixed without these scores; for one chosen on them, by
    `best_threshold`, the rate itself is biased upwards (it can never be below 0.5).

    Args:
      members: float[n1], at least one score.
      nonmembers: float[n0], at least one score.
      threshold: any float, infinities included.
      confidence: of the interval.
    """
    x, y = scores(members, "members"), scores(nonmembers, "nonmembers")
    if np.isnan(threshold):
        raise UserError("success_rate: the threshold is NaN")
    hits, passes = int(np.count_nonzero(x >= threshold)), int(np.count_nonzero(y < threshold))
    low, high = balanced_interval(hits, len(x), passes, len(y), confidence)
    tpr, tnr = hits / len(x), passes / len(y)
    return SuccessRate((tpr + tnr) / 2, tpr, tnr, low, high, float(threshold), len(x), len(y))


def best_threshold(members: Any, nonmembers: Any) -> float:
    """The threshold with the highest balanced success rate on these scores, in O(n log n).

    Candidates are all observed scores and +inf (call nobody a member), so that the best is never below 0.5. Of
    several equally good ones the largest is returned: it accuses the fewest.

    Args:
      members: float[n1], at least one score.
      nonmembers: float[n0], at least one score.
    """
    x, y = np.sort(scores(members, "members")), np.sort(scores(nonmembers, "nonmembers"))
    candidates = np.append(np.unique(np.concatenate([x, y])), np.inf)
    # Whole numbers keep ties exact: n0 * #(x >= t) + n1 * #(y < t).
    hits = len(x) - np.searchsorted(x, candidates, side="left")
    passes = np.searchsorted(y, candidates, side="left")
    gain = len(y) * hits + len(x) * passes
    return float(candidates[np.flatnonzero(gain == gain.max())[-1]])


def roc_curve(members: Any, nonmembers: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The curve of all rules "member when score >= threshold".

    Returns:
      false-positive rates, true-positive rates and thresholds, float64[t] each: from +inf (nobody is called a member)
      down through every observed score. The area under its straight lines is `auc`'s value.
    """
    x, y = np.sort(scores(members, "members")), np.sort(scores(nonmembers, "nonmembers"))
    thresholds = np.append(np.inf, np.unique(np.concatenate([x, y]))[::-1])
    fpr, tpr = (1 - np.searchsorted(side, thresholds, side="left") / len(side) for side in (y, x))
    return fpr, tpr, thresholds


def tpr_at_fpr(members: Any, nonmembers: Any, fpr: float) -> float | None:
    """The largest TPR of any threshold whose empirical FPR is at most `fpr`; no interpolation.

    Args:
      members: float[n1].
      nonmembers: float[n0].
      fpr: in [0, 1]; 0 means no false positive among these non-members.

    Returns:
      A rate, or None where it is not resolvable: fewer than 1/fpr non-members.
    """
    in_range(0, 1, fpr=fpr)
    x, y = scores(members, "members"), np.sort(scores(nonmembers, "nonmembers"))
    if fpr > 0 and len(y) * fpr < 1 - 1e-9:
        return None
    allowed = int(np.floor(len(y) * fpr + 1e-9))
    if allowed >= len(y):
        return 1.0
    # The threshold must lie above the (allowed + 1)-th highest non-member, ties included.
    return float(np.mean(x > y[len(y) - 1 - allowed]))


def scores(values: Any, name: str) -> np.ndarray:
    """float64[n] of at least one score; raises on NaN, on an empty and on a nested array."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not array.size:
        raise UserError(f"{name}: expected a vector of at least one score, got shape {list(array.shape)}")
    if np.isnan(array).any():
        raise UserError(f"{name}: score {int(np.flatnonzero(np.isnan(array))[0])} is NaN")
    return array
