"""Confidence: one query of each row, thresholded on the probability of the true class.

References:
  [1] Yeom, Giacomelli, Fredrikson, Jha. Privacy risk in machine learning. CSF 2018.
  [2] Song, Shokri, Mittal. Privacy risks of securing machine learning models against adversarial examples. CCS 2019
      (one threshold for all classes).
  [3] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021 (a threshold
      a class).
"""

import numpy as np

from tfpdu.audit.attacks.by_class import LEAST_ROWS, ByClass
from tfpdu.audit.signals import Signals


class Confidence:
    """Member when the model gives the true class a high probability: score = p_y of the plain image.

    Threat model: black-box probabilities, the row and its true label. The order of the scores is that of M-Loss, but
    rows whose loss is under 1e-16 nats tie at 1. Uses `losses0`, float64[n]: p_y = exp(-loss).
    """

    name = "confidence"

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n] in [0, 1]."""
        return np.exp(-signals.losses0)


class ConfidenceByClass(ByClass):
    """Confidence with a threshold a class [3]: p_y minus the threshold of the true class. See `ByClass`."""

    name = "confidence_by_class"

    def __init__(self, least_rows: int = LEAST_ROWS):
        super().__init__(Confidence(), least_rows)
