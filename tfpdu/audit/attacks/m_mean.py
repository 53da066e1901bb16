"""M-Mean: the mean loss over the training views.

Reference:
  [1] Yu, Zhang, Chen, Yin, Liu. How does data augmentation affect privacy in machine learning? AAAI 2021. (The attack
      has been cited as Song, Shokri and Mittal 2019, which contains none over augmentations.)
"""

import numpy as np

from tfpdu.audit.signals import Signals


class MMean:
    """Member when the mean cross-entropy over the N views is low: score = -mean over j of loss_j.

    The Bayes-optimal constant threshold if the model was trained to minimise the loss summed over the views. Threat
    model: black-box probabilities, the row, its label and the very views of the training (`losses`, float64[n, N]);
    the plain image is not among them.
    """

    name = "m_mean"
    uses_views = True

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], minus the mean loss in nats."""
        # Sorted, since a sum's rounding depends on the order and the score must not.
        return -np.sort(signals.losses, axis=1).mean(axis=1)
