"""Rates of groups on fairlearn's MetricFrame, with their exact intervals where rows of one person come together.

The rule for every rate (accuracy, selection rate, TPR, FPR) of one group: Clopper and Pearson's interval. Where
subjects are known it is taken at the effective number of rows [1]: as many independent rows as would leave the rate as
uncertain as its subjects do. That uncertainty is the variance that a bootstrap which draws subjects tends to with the
number of its draws, in closed form [2]; so nothing here is drawn, and nothing depends on a seed.

References:
  [1] Korn, Graubard. Confidence intervals for proportions with small expected number of positive counts estimated from
      survey data. 1998.
  [2] Efron. The jackknife, the bootstrap and other resampling plans. 1982, section 6 (the infinitesimal jackknife).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import special

from tfpdu.audit.predictions import Predictions
from tfpdu.common.intervals import proportion_ends

RATES = ("selection_rate", "tpr", "fpr")


@dataclasses.dataclass(frozen=True)
class Rate:
    """One rate of G groups, for each of K classes against the rest (one for accuracy).

    Attributes:
      value: float[K, G] in [0, 1]; NaN where no row counts.
      trials: int[K, G]: the rows that count.
      effective: float[K, G]: the independent rows that they are worth.
      numerator: bool[n, K]: rows that are hits.
      denominator: bool[n, K]: rows that count.
      codes: int[n]: the group of each row.
      units: int[n]: rows of one person have the same number.
    """

    value: np.ndarray
    trials: np.ndarray
    effective: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray
    codes: np.ndarray
    units: np.ndarray

    def ends(self, tail: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of the interval that leaves `tail` (scalar or [K, 1]) beyond either; NaN where no row counts."""
        low, high = proportion_ends(np.nan_to_num(self.value) * self.effective, self.effective, tail)
        nothing = np.isnan(self.value)
        return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)

    def influence(self, k: int) -> np.ndarray:
        """float[units, G]: what each person adds to the error of each group's rate of class k, to first order."""
        hits, counts = self.numerator[:, k].astype(np.float64), self.denominator[:, k]
        of_row = (hits - np.nan_to_num(self.value[k])[self.codes] * counts) / np.maximum(self.trials[k], 1)[self.codes]
        return by_unit(self.units, self.codes, of_row * counts, self.value.shape[1])

    def correlation(self, k: int) -> np.ndarray:
        """float[G, G]: how far the groups' rates of class k rise together, as people may have rows in several."""
        of_unit = self.influence(k)
        norms = np.sqrt((of_unit**2).sum(0))
        unit = of_unit / np.where(norms > 0, norms, 1)
        return np.einsum("ug,uh->gh", unit, unit)

    @property
    def shared(self) -> bool:
        """Whether some person has rows in more than one group."""
        pairs = np.unique(self.units.astype(np.int64) * self.value.shape[1] + self.codes)
        return len(pairs) > len(np.unique(self.units))


def group_rates(predictions: Predictions, codes: np.ndarray, groups: int) -> dict[str, Rate]:
    """Selection rate, TPR and FPR of each group: of the positive class, or of each class against the rest.

    Args:
      predictions: n rows, each of a known group.
      codes: int[n] in [0, groups).
      groups: how many there are.
    """
    positives = np.arange(1, 2) if len(predictions.classes) == 2 else np.arange(len(predictions.classes))
    truly = predictions.labels[:, None] == positives  # [n, K]
    chosen = predictions.predicted[:, None] == positives
    values = _metric_frame(predictions, codes, groups, positives)
    counted = {"selection_rate": np.ones_like(truly), "tpr": truly, "fpr": ~truly}
    return {
        name: _rate(values[name], chosen & counted[name], counted[name], codes, predictions.subjects) for name in RATES
    }


def accuracy_rate(predictions: Predictions, codes: np.ndarray, groups: int) -> Rate:
    """Share of rows that are right in each group; arguments as for `group_rates`."""
    right = (predictions.labels == predictions.predicted)[:, None]
    hits = np.bincount(codes, weights=right[:, 0], minlength=groups)
    trials = np.bincount(codes, minlength=groups)
    value = np.where(trials, hits / np.maximum(trials, 1), np.nan)[None]
    return _rate(value, right, np.ones_like(right), codes, predictions.subjects)


def by_unit(units: np.ndarray, codes: np.ndarray, of_row: np.ndarray, groups: int) -> np.ndarray:
    """float[units, groups]: sums over the rows of each unit in each group."""
    count = int(units.max(initial=-1)) + 1
    return np.bincount(units * groups + codes, weights=of_row, minlength=count * groups).reshape(count, groups)


def _metric_frame(
    predictions: Predictions, codes: np.ndarray, groups: int, positives: np.ndarray
) -> dict[str, np.ndarray]:
    """fairlearn's rates, float[K, groups], of the table of (group, label, prediction) weighted by its counts."""
    import pandas as pd
    from fairlearn import metrics

    classes = len(predictions.classes)
    cell = (codes * classes + predictions.labels) * classes + predictions.predicted
    cells, counts = np.unique(cell, return_counts=True)
    repeated, one = np.tile(cells, len(positives)), np.repeat(positives, len(cells))
    weight = {"sample_weight": np.tile(counts, len(positives))}
    functions = (metrics.selection_rate, metrics.true_positive_rate, metrics.false_positive_rate)
    frame = metrics.MetricFrame(
        metrics=dict(zip(RATES, functions, strict=True)),
        y_true=(repeated // classes % classes == one).astype(int),
        y_pred=(repeated % classes == one).astype(int),
        sensitive_features=pd.Series(repeated // classes**2, name="group"),
        control_features=pd.Series(one, name="class"),
        sample_params=dict.fromkeys(RATES, weight),
    ).by_group
    where = pd.MultiIndex.from_product([positives, range(groups)])
    shape = len(positives), groups
    return {name: frame[name].reindex(where).to_numpy(np.float64).reshape(shape) for name in RATES}


def _rate(
    value: np.ndarray, numerator: np.ndarray, denominator: np.ndarray, codes: np.ndarray, subjects: np.ndarray | None
) -> Rate:
    groups = value.shape[1]
    trials = np.stack([np.bincount(codes[column], minlength=groups) for column in denominator.T])
    value = np.where(trials > 0, value, np.nan)  # fairlearn says 0 where there is nobody to count
    units = np.arange(len(codes)) if subjects is None else np.unique(subjects, return_inverse=True)[1]
    rate = Rate(value, trials, trials.astype(np.float64), numerator, denominator, codes, units)
    if subjects is None:
        return rate
    worth = [_effective(rate, k) for k in range(len(value))]
    return dataclasses.replace(rate, effective=np.stack(worth))


def _effective(rate: Rate, k: int) -> np.ndarray:
    """float[G]: how many independent rows the rows of class k are worth [1]."""
    counts = rate.denominator[:, k].astype(np.float64)
    groups = rate.value.shape[1]
    people = (by_unit(rate.units, rate.codes, counts, groups) > 0).sum(0).astype(np.float64)
    spread = people / np.maximum(people - 1, 1) * (rate.influence(k) ** 2).sum(0)  # variance of the rate
    p, n = np.nan_to_num(rate.value[k]), rate.trials[k].astype(np.float64)
    fixed = (people < 2) | (p <= 0) | (p >= 1)  # nothing varies, so each person counts once
    few = (special.stdtrit(np.maximum(n - 1, 1), 0.975) / special.stdtrit(np.maximum(people - 1, 1), 0.975)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = np.minimum(n, np.where(spread > 0, p * (1 - p) / spread * few, n))
    return np.where(fixed, people, worth)


def names_of_cells(left: Sequence[str], right: Sequence[str]) -> tuple[str, ...]:
    """Names of the cells of two variables, the second one running fastest: "cat, dark"."""
    return tuple(f"{a}, {b}" for a in left for b in right)
