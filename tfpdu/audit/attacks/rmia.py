"""RMIA: a row's likelihood gain over reference models against the gains of rows that nobody trained on.

Reference:
  [1] Zarifzadeh, Liu, Shokri. Low-cost high-power membership inference attacks. ICML 2024.
"""

import numpy as np

from tfpdu.audit.attacks.base import check_extras
from tfpdu.audit.auc import auc
from tfpdu.audit.likelihood_ratio import rmia_scores
from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError
from tfpdu.common.validation import in_range, positive

_GRID = tuple(round(0.1 * step, 1) for step in range(11))


class _Rmia:
    """The share of population rows z that a row x beats: [p(x) / P(x)] / [p(z) / P(z)] >= gamma.

    Threat model: black-box probabilities, the row and its label, R reference models and a population from the same
    distribution, for which `fit` takes the calibration non-members. A row that is in the population itself is not
    compared with itself. Uses `losses0`, float64[n], and `references` (float64[n, R] and bool[n, R]).
    """

    name: str
    requires = ("references",)

    def __init__(self, gamma: float = 1.0):
        positive(gamma=gamma)
        self._gamma = gamma
        self._population: Signals | None = None

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Keeps the non-members as the population; at least two."""
        check_extras(self, members, nonmembers)
        if len(nonmembers) < 2:
            raise UserError(f"{self.name}: {len(nonmembers)} calibration non-members, at least 2 are needed")
        self._population = nonmembers

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n] in [0, 1]."""
        return self._scores(signals, None)

    def _scores(self, signals: Signals, a: float | None) -> np.ndarray:
        check_extras(self, signals)
        population = self._population
        if population is None:
            raise UserError(f"{self.name}: score before fit")
        x, z = (
            (np.maximum(np.exp(-side.losses0), np.finfo(float).tiny), self._references(side))
            for side in (signals, population)
        )
        shares = rmia_scores(*x, *z, gamma=self._gamma, a=a)
        own = np.isin(signals.ids, population.ids)
        without = (shares * len(population) - (self._gamma <= 1)) / (len(population) - 1)
        return np.where(own, np.clip(without, 0, 1), shares)

    def _references(self, side: Signals) -> np.ndarray:
        """float64[n, R], NaN where a reference is not to be used."""
        assert side.references is not None
        return side.references.probabilities


class RmiaOnline(_Rmia):
    """RMIA with references of which about half were trained with each row: P(x) is their plain mean [1, eq. 6].

    Args:
      gamma: above 0; [1]'s experiments have 2, the authors' later tool 1.
    """

    name = "rmia_online"

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Keeps the non-members as the population; every row needs a reference of either kind."""
        super().fit(members, nonmembers, seed)
        for side in (members, nonmembers):
            assert side.references is not None
            known = ~np.isnan(side.references.probabilities)
            for words, chosen in (("with", side.references.included), ("without", ~side.references.included)):
                short = ~(known & chosen).any(axis=1)
                if short.any():
                    raise UserError(f"{self.name}: row {side.ids[short][0]!r} has no reference trained {words} it")


class RmiaOffline(_Rmia):
    """RMIA with references that were trained without the row: P(x) = ((1 + a) mean + 1 - a) / 2 makes up for the bias.

    Args:
      gamma: above 0.
      a: in [0, 1]; 0.3 is [1]'s for CIFAR-10, 1 the plain mean. None: of 0, 0.1, .. 1 the one with the highest AUC on
        the calibration rows (the smallest of equals).
    """

    name = "rmia_offline"

    def __init__(self, gamma: float = 1.0, a: float | None = 0.3):
        super().__init__(gamma)
        if a is not None:
            in_range(0, 1, a=a)
        self._given = a
        self.a = 0.3 if a is None else a

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Keeps the non-members as the population, and chooses `a` if it was not given."""
        super().fit(members, nonmembers, seed)
        if self._given is None:
            areas = [auc(self._scores(members, a), self._scores(nonmembers, a)).value for a in _GRID]
            self.a = _GRID[int(np.argmax(areas))]

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n] in [0, 1]."""
        return self._scores(signals, self.a)

    def _references(self, side: Signals) -> np.ndarray:
        assert side.references is not None
        return np.where(side.references.included, np.nan, side.references.probabilities)
