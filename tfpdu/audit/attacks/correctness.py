"""Correctness, also called the gap attack: a row that is classified right is a member.

References:
  [1] Yeom, Giacomelli, Fredrikson, Jha. Privacy risk in machine learning. CSF 2018, section 3.1 (there bounded by the
      generalisation gap: its success rate is 1/2 + (training - test accuracy) / 2).
  [2] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021.
"""

import numpy as np

from tfpdu.audit.signals import Signals


class Correctness:
    """Member when the likeliest class of the plain image is the true one: score = 1 if so, else 0.

    Threat model: label-only answers, the row and its true label. Uses `probabilities`, float64[n, C]; of equally likely
    classes the first is the answer.
    """

    name = "correctness"

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Nothing to learn."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], 1 or 0."""
        return (signals.probabilities.argmax(axis=1) == signals.labels).astype(np.float64)
