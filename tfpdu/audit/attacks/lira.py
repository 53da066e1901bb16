"""LiRA: a row's confidence against that of reference models, which says how hard the row is.

Reference:
  [1] Carlini, Chien, Nasr, Song, Terzis, Tramer. Membership inference attacks from first principles. S&P 2022.
"""

import numpy as np

from tfpdu.audit.attacks.base import check_extras
from tfpdu.audit.likelihood_ratio import deviation_of_all, lira_scores, statistic_of_confidence
from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError

MANY = 64  # reference models from which on a row's own deviation is the better one [1, section VI]
_LEAST_DEVIATION = 1e-6  # references that agree to the last digit say nothing about the spread


class _Lira:
    """The likelihood ratio of a row's logit-scaled confidence, log(p_y / (1 - p_y)).

    Threat model: black-box probabilities, the row and its label, and R reference models trained on data of the same
    distribution. Uses `losses0`, float64[n], and `references` (float64[n, R] and bool[n, R]); both sides of the
    comparison are cut at a probability of 1 - 1e-16.

    Args:
      fix_variance: one deviation for all rows, which `fit` learns from the residuals of the calibration rows: better
        with few references. None: so with fewer than 64 references. Otherwise each row needs two references that
        differ on either side that is compared.
    """

    name: str
    requires = ("references",)
    mode: str
    _sides: tuple[str, ...]

    def __init__(self, fix_variance: bool | None = None):
        self._fix_variance = fix_variance
        self._deviations: dict[str, np.ndarray] | None = None
        self._fitted = False

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Learns the common deviation, if there is to be one, from both sides' rows."""
        check_extras(self, members, nonmembers)
        both = [_groups(self, side) for side in (members, nonmembers)]
        count = members.references.probabilities.shape[1]  # type: ignore[union-attr]
        self._deviations, self._fitted = None, True
        if self._fix_variance or (self._fix_variance is None and count < MANY):
            pooled = {name: [group for side in both for group in side[name]] for name in self._sides}
            self._deviations = {
                name: np.maximum(deviation_of_all(groups), _LEAST_DEVIATION) for name, groups in pooled.items()
            }

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n]; see the mode."""
        if not self._fitted:
            raise UserError(f"{self.name}: score before fit")
        check_extras(self, signals)
        target, groups = statistic_of_confidence(np.exp(-signals.losses0)), _groups(self, signals)
        return lira_scores(
            target,
            groups.get("ins"),
            groups["outs"],
            self.mode,
            deviations=self._deviations,
            least_deviation=_LEAST_DEVIATION,
        )


class LiraOnline(_Lira):
    """Member when the statistic is likelier under the references with the row than under those without [1, alg. 1].

    score = log N(t; in) - log N(t; out), in nats. About half of the references were trained with each row.
    """

    name = "lira_online"
    mode = "online"
    _sides = ("ins", "outs")


class LiraOffline(_Lira):
    """Member when the statistic is high for models that did not see the row [1, eq. 4]: one-sided.

    score = (t - median of out) / deviation, whose order is that of [1]'s P[Z <= t] and which does not round to 1.
    """

    name = "lira_offline"
    mode = "offline_z"
    _sides = ("outs",)


class LiraOfflineTwoSided(_Lira):
    """What the authors' code computes: score = -log N(t; out).

    It takes a row for a member that is far *below* the references as well, a strong non-member. For comparison with
    numbers from that code only.
    """

    name = "lira_offline_two_sided"
    mode = "offline_two_sided"
    _sides = ("outs",)


def _groups(attack: _Lira, side: Signals) -> dict[str, list[np.ndarray]]:
    """Per row the statistic of the references with it ("ins") and without ("outs"), as far as the attack needs them."""
    references = side.references
    assert references is not None
    statistic = statistic_of_confidence(references.probabilities)  # [n, R], NaN stays
    known = ~np.isnan(statistic)
    groups = {}
    for name in attack._sides:
        usable = known & (references.included if name == "ins" else ~references.included)
        short = ~usable.any(axis=1)
        if short.any():
            words = "with" if name == "ins" else "without"
            raise UserError(f"{attack.name}: row {side.ids[short][0]!r} has no reference trained {words} it")
        groups[name] = [row[own] for row, own in zip(statistic, usable, strict=True)]
    return groups
