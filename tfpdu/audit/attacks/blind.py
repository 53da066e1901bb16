"""The blind baseline: an attack that never sees the model, and so must be at 50 %."""

import numpy as np

from tfpdu.audit.signals import Signals
from tfpdu.common.seeds import id_hashes


class Blind:
    """A score out of a hash of the row's id and the seed; uses `ids` alone.

    No threat, but a check of the audit: where its interval lies off 50 %, the numbers of the other attacks are no
    evidence either (rows counted twice, sides mixed up, an interval that is too narrow).
    """

    name = "blind"

    def __init__(self) -> None:
        self._seed = 0

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Takes the seed."""
        self._seed = seed

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n] in [0, 1), unrelated to membership."""
        return (id_hashes(signals.ids.tolist(), self._seed, "blind attack") >> np.uint64(11)) * 2.0**-53
