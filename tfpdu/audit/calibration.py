"""Expected calibration error of the predicted class, by group, with intervals.

The error [1] is the sum over ten bins of confidence of |rows right - sum of their confidences| / n: of a sure model
that is right as often as it says it is 0. Each bin's term is the larger of a number and its negative, so the error of
few rows is far above 0 even of a perfect model; the interval allows for that, the value is the plain one.

References:
  [1] Naeini, Cooper, Hauskrecht. Obtaining well calibrated probabilities using Bayesian binning. 2015.
"""

import numpy as np
from scipy import special

from tfpdu.audit.extremes import largest, total
from tfpdu.audit.predictions import Predictions
from tfpdu.audit.rates import by_unit

BINS = 10


def calibration_error(predictions: Predictions, tail: float = 0.025) -> tuple[float, float, float]:
    """Value and both ends of the interval, in [0, 1], on n >= 1 rows whose `confidence` is known.

    Args:
      predictions: the rows of one group.
      tail: the chance left beyond either end.
    """
    assert predictions.confidence is not None
    n = len(predictions.labels)
    right = (predictions.labels == predictions.predicted).astype(np.float64)
    bins = np.minimum((predictions.confidence * BINS).astype(np.int64), BINS - 1)
    units = np.arange(n) if predictions.subjects is None else np.unique(predictions.subjects, return_inverse=True)[1]
    people = int(units.max()) + 1
    gaps = np.bincount(bins, weights=right - predictions.confidence, minlength=BINS) / n  # [BINS]
    value = float(np.abs(gaps).sum())
    if people < 2:
        return value, 0.0, 1.0
    of_unit = by_unit(units, bins, (right - predictions.confidence) / n, BINS) - gaps / people  # [people, BINS]
    variance = people / (people - 1) * (of_unit**2).sum(0)
    se = np.sqrt(np.maximum(variance, _least_variance(bins, right)))
    used = np.bincount(bins, minlength=BINS) > 0
    signed = np.stack([gaps, -gaps], 1)[used]  # [T, 2]

    def ends(tails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reach = (-special.stdtrit(people - 1, tails) * se[used])[:, None]
        return signed - reach, signed + reach

    terms = largest(signed, ends, tail)
    influences = of_unit[:, used] * np.where(terms.which == 0, 1.0, -1.0)
    low, high = total(terms, influences, 0.0)
    return value, float(np.clip(low, 0, value)), float(np.clip(high, value, 1))


def _least_variance(bins: np.ndarray, right: np.ndarray) -> np.ndarray:
    """float[BINS]: of a gap in whose bin all rows are right, or all wrong, as if one more were each [Laplace]."""
    rows = np.bincount(bins, minlength=BINS)
    hits = np.bincount(bins, weights=right, minlength=BINS)
    share = (hits + 1) / (rows + 2)
    return np.where((hits == 0) | (hits == rows), rows * share * (1 - share), 0) / len(bins) ** 2
