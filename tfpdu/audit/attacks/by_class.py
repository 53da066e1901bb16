"""Class-specific thresholds: a class that is hard to learn gets a threshold of its own.

Reference:
  [1] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021, section 3.
      (Their code gives a class without shadow rows the threshold 0, which calls all its rows members by confidence and
      none by entropy. Here such a class gets the threshold of all classes together.)
"""

import numpy as np

from tfpdu.audit.attacks.base import Attack
from tfpdu.audit.signals import Signals
from tfpdu.audit.statistics import best_threshold
from tfpdu.common.errors import UserError

LEAST_ROWS = 10  # of a class on either side; with fewer, its best threshold is mostly chance


class ByClass:
    """The margin of an attack's score to a threshold of the row's true class: score_i - threshold[label_i].

    A margin is comparable over classes, and 0 is the boundary of [1]. Thresholds have the best balanced success rate
    on the calibration rows; where it is best to call nobody a member, the threshold is just above the highest score. A
    class with fewer than `least_rows` calibration rows on either side has the threshold of all rows.
    """

    name: str

    def __init__(self, attack: Attack, least_rows: int = LEAST_ROWS):
        self._attack, self._least_rows = attack, least_rows
        self._thresholds: np.ndarray | None = None  # [C]

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Fits the attack, and a threshold a class, on rows of known membership."""
        self._attack.fit(members, nonmembers, seed)
        x, y = self._attack.score(members), self._attack.score(nonmembers)
        classes = members.probabilities.shape[1]
        self._thresholds = np.full(classes, _finite_threshold(x, y))
        for code in range(classes):
            own_x, own_y = x[members.labels == code], y[nonmembers.labels == code]
            if min(len(own_x), len(own_y)) >= self._least_rows:
                self._thresholds[code] = _finite_threshold(own_x, own_y)

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], the margin in the attack's own unit."""
        if self._thresholds is None:
            raise UserError(f"{self.name}: score before fit")
        return self._attack.score(signals) - self._thresholds[signals.labels]


def _finite_threshold(members: np.ndarray, nonmembers: np.ndarray) -> float:
    threshold = best_threshold(members, nonmembers)
    if np.isfinite(threshold):
        return threshold
    return float(np.nextafter(max(members.max(), nonmembers.max()), np.inf))
