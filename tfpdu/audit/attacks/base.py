"""What every membership-inference attack is."""

from typing import Protocol, runtime_checkable

import numpy as np

from tfpdu.audit.signals import Signals


@runtime_checkable
class Attack(Protocol):
    """Scores rows by how likely the audited model was trained on them.

    An attack is made without required arguments, fitted once on calibration rows and then scores others. It sees
    signals only, never the model or the images. `tfpdu.testing.check_attack` is what it has to pass.
    """

    @property
    def name(self) -> str:
        """The name in reports and in `audit.json`."""

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Learns from calibration rows of known membership; the same rows in any order and seed give the same fit."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], finite; higher means member. Row i depends on row i alone."""
