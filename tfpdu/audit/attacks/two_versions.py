"""The two-version attack: what a deletion itself gives away.

Reference:
  [1] Chen, Zhang, Wang, Backes, Humbert, Zhang. When machine unlearning jeopardizes privacy. CCS 2021.
"""

from typing import Any

import numpy as np

from tfpdu.audit.attacks.base import check_extras
from tfpdu.audit.losses import cross_entropy
from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError


class TwoVersions:
    """Member when the model answered otherwise before the deletion: a logistic regression on the two answers' gap.

    A member here is a row that the *earlier* version was trained on and the audited one no longer is; a non-member is
    one that neither saw. Threat model: black-box probabilities of both versions, the row and its label, and calibration
    rows of known membership. Uses `earlier` and `probabilities`, float64[n, C]. The features, from [1]'s families of
    difference features: the signed and the absolute change of the true class's probability and of the logarithm of
    its loss, and the Euclidean distance of the answers; standardised on the calibration rows.

    Args:
      penalty: C of scikit-learn's `LogisticRegression`, the inverse strength of its L2 penalty.
    """

    name = "two_versions"
    requires = ("earlier",)

    def __init__(self, penalty: float = 1.0):
        self._penalty = penalty
        self._weights: np.ndarray | None = None
        self._centre, self._scale, self._offset = np.zeros(5), np.ones(5), 0.0

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Fits on rows of known membership; the optimum is unique, the seed is not used."""
        from sklearn.linear_model import LogisticRegression

        check_extras(self, members, nonmembers)
        sides = [features(side.take(np.argsort(side.ids, kind="stable"))) for side in (members, nonmembers)]
        inputs = np.concatenate(sides)
        targets = np.repeat([1, 0], [len(side) for side in sides])
        self._centre, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        self._scale = np.where(deviation > 1e-12, deviation, 1.0)
        regression: Any = LogisticRegression(C=self._penalty, class_weight="balanced", max_iter=1000)
        regression.fit((inputs - self._centre) / self._scale, targets)
        self._weights, self._offset = regression.coef_[0], float(regression.intercept_[0])

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], the regression's logit."""
        check_extras(self, signals)
        if self._weights is None:
            raise UserError(f"{self.name}: score before fit")
        return ((features(signals) - self._centre) / self._scale * self._weights).sum(axis=1) + self._offset


def features(signals: Signals) -> np.ndarray:
    """float64[n, 5]: change of p_y, its size, change of log loss, its size, distance; earlier minus later."""
    assert signals.earlier is not None
    answers = signals.earlier, signals.probabilities
    losses = [cross_entropy(p, signals.labels) for p in answers]
    own = np.exp(-losses[0]) - np.exp(-losses[1])
    # Losses of fitted rows span many orders of magnitude; under 1e-8 nats float32 answers tell them apart no more.
    change = np.log(losses[0] + 1e-8) - np.log(losses[1] + 1e-8)
    distance = np.linalg.norm(answers[0] - answers[1], axis=1)
    return np.stack([own, np.abs(own), change, np.abs(change), distance], axis=1)
