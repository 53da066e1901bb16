"""Entropy: a model is certain about the rows that it was trained on.

References:
  [1] Shokri, Stronati, Song, Shmatikov. Membership inference attacks against machine learning models. S&P 2017.
  [2] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021, section 3.
"""

import numpy as np

from tfpdu.audit.attacks.by_class import LEAST_ROWS, ByClass
from tfpdu.audit.losses import entropy
from tfpdu.audit.signals import Signals


class Entropy:
    """Member when the answer's Shannon entropy is low: score = -H(p) of the plain image.

    Threat model: black-box probabilities and the row; the true label is not used, so a certain and wrong answer looks
    like a member's. Uses `probabilities`, float64[n, C].
    """

    name = "entropy"

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], minus the entropy in nats; in [-log C, 0]."""
        return -entropy(signals.probabilities)


class EntropyByClass(ByClass):
    """Entropy with a threshold a class [2]: -H(p) minus the threshold of the true class. See `ByClass`."""

    name = "entropy_by_class"

    def __init__(self, least_rows: int = LEAST_ROWS):
        super().__init__(Entropy(), least_rows)
