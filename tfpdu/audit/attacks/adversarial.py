"""Adversarial confidence: a model is robust on the rows that it was trained on, above all after robust training.

Reference:
  [1] Song, Shokri, Mittal. Privacy risks of securing machine learning models against adversarial examples. CCS 2019.
"""

import numpy as np

from tfpdu.audit.attacks.base import check_extras
from tfpdu.audit.losses import cross_entropy
from tfpdu.audit.signals import Signals


class AdversarialConfidence:
    """Member when the true class keeps a high probability on the perturbed image: score = log p_y(x + delta).

    Threat model: the model's gradients (to make delta, see `tfpdu.audit.perturbed_images`, with the budget of the
    robust training), the row and its true label. Uses `adversarial`, float64[n, C]. The logarithm keeps the order of
    [1]'s confidence and tells small ones apart.
    """

    name = "adversarial_confidence"
    requires = ("adversarial",)

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""
        check_extras(self, members, nonmembers)

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], at most 0."""
        check_extras(self, signals)
        return -cross_entropy(signals.adversarial, signals.labels)
