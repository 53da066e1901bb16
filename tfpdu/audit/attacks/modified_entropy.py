"""Modified entropy: an entropy that knows the true label.

Reference:
  [1] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021, eq. 8.
      (The formula in some unlearning code, which indexes all rows by all labels, is another quantity.)
"""

import numpy as np

from tfpdu.audit.attacks.by_class import LEAST_ROWS, ByClass
from tfpdu.audit.losses import modified_entropy
from tfpdu.audit.signals import Signals


class ModifiedEntropy:
    """Member when M(p, y) is low: score = -M of the plain image; 0 for a certain and right answer, low for a wrong one.

    Threat model: black-box probabilities, the row and its true label. Uses `probabilities`, float64[n, C].
    """

    name = "modified_entropy"

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], minus the modified entropy in nats, at most 0."""
        return -modified_entropy(signals.probabilities, signals.labels)


class ModifiedEntropyByClass(ByClass):
    """Modified entropy with a threshold a class, the strongest attack of [1] without shadow models. See `ByClass`."""

    name = "modified_entropy_by_class"

    def __init__(self, least_rows: int = LEAST_ROWS):
        super().__init__(ModifiedEntropy(), least_rows)
