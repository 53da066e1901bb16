"""M-Loss: one query of each row, thresholded on its loss.

References:
  [1] Yeom, Giacomelli, Fredrikson, Jha. Privacy risk in machine learning: analyzing the connection to overfitting.
      CSF 2018.
  [2] Sablayrolles, Douze, Schmid, Ollivier, Jegou. White-box vs black-box: Bayes optimal strategies for membership
      inference. 2019 (a constant threshold on the loss).
  [3] Yu, Zhang, Chen, Yin, Liu. How does data augmentation affect privacy in machine learning? AAAI 2021.
"""

import numpy as np

from tfpdu.audit.signals import Signals


class MLoss:
    """Member when the cross-entropy of one query is low: score = -loss.

    Threat model: black-box probabilities, the row and its true label; no shadow model, no training views.

    Args:
      view: None asks with the plain image (`losses0`, float64[n]); j asks with view j (`losses[:, j]`), which [3] tries
        as well and picks the best of on the evaluation rows.
    """

    name = "m_loss"

    def __init__(self, view: int | None = None):
        self._view = view

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn: the threshold is the protocol's."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], minus the loss in nats."""
        return -signals.losses0 if self._view is None else -signals.losses[:, self._view]
