"""How an attack is fitted, thresholded and counted.

`holdout` (default): attack and threshold are fitted on calibration rows, the numbers come from disjoint evaluation
rows; their intervals hold. `yu2021`: as Yu et al. 2021 published it, with thresholds, the best of N+1 queries and the
stopping step all chosen on the evaluation rows; biased upwards (51.5 % without any leak at 2,500 + 2,500 rows, more for
fewer), never below 50 %, its interval is not a confidence interval; only to set beside published numbers.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfpdu.audit.attacks import Attack, MLoss, Moments, check_extras, new_attack
from tfpdu.audit.auc import auc
from tfpdu.audit.signals import Signals
from tfpdu.audit.significance import auc_p_value, holm
from tfpdu.audit.statistics import best_threshold, success_rate, tpr_at_fpr

_YU_TRAINING_ROWS = 200  # a side, for the Moments network


@dataclasses.dataclass(frozen=True)
class Sides:
    """The four disjoint sets of rows of one audit; equally many members and non-members in either role."""

    calibration_members: Signals
    calibration_nonmembers: Signals
    evaluation_members: Signals
    evaluation_nonmembers: Signals


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One attack's scores on the evaluation rows (float64[n1], float64[n0]) and the threshold it is counted at.

    `slice` names the part of the evaluation rows that these are; None: all of them. `exchangeable` is False where the
    membership of these very rows had a part in their scores, so that no permutation p-value holds.
    """

    attack: str
    protocol: str
    members: np.ndarray
    nonmembers: np.ndarray
    threshold: float
    slice: str | None = None
    exchangeable: bool = True

    def part(self, name: str, members: np.ndarray, nonmembers: np.ndarray) -> "Outcome":
        """The outcome on a slice, given as bool[n1] and bool[n0]; attack and threshold stay as they were fitted."""
        return dataclasses.replace(
            self, members=self.members[members], nonmembers=self.nonmembers[nonmembers], slice=name
        )


def holdout(sides: Sides, attacks: Sequence[str], seed: int) -> Iterator[Outcome]:
    """Attack and threshold from the calibration rows, scores of the evaluation rows."""
    for name in attacks:
        attack = _fitted(name, sides, seed)
        threshold = best_threshold(attack.score(sides.calibration_members), attack.score(sides.calibration_nonmembers))
        scores = attack.score(sides.evaluation_members), attack.score(sides.evaluation_nonmembers)
        yield Outcome(attack.name, "holdout", *scores, threshold)


def yu2021(sides: Sides, attacks: Sequence[str], seed: int) -> Iterator[Outcome]:
    """The published protocol; Moments trains on at most 200 + 200 calibration rows."""
    for name in attacks:
        if name == MLoss.name:
            views = range(sides.evaluation_members.losses.shape[1])
            outcomes = [_in_sample(MLoss(view), sides) for view in (None, *views)]
            best = max(outcomes, key=lambda o: success_rate(o.members, o.nonmembers, o.threshold).success_rate)
            yield dataclasses.replace(best, exchangeable=False)
        elif name == Moments.name:
            yield _moments_yu2021(sides, seed)
        else:
            yield _in_sample(_fitted(name, sides, seed), sides)


PROTOCOLS: dict[str, Callable[[Sides, Sequence[str], int], Iterator[Outcome]]] = {"holdout": holdout, "yu2021": yu2021}


def as_row(
    outcome: Outcome, *, iteration: int, population: str, fprs: Sequence[float], confidence: float = 0.95
) -> dict[str, Any]:
    """The row of `audit.json` for one outcome.

    Beside the rates: `tpr_at_fpr` is None at an FPR for which there are fewer than 1/FPR non-members. `p_value` is the
    two-sided permutation p-value of the AUC (`auc_p_value`), None where the scores were chosen or fitted on these rows;
    `p_holm` is the same until `with_holm` puts several rows together. `reverse` says that the AUC's interval lies
    below 0.5: members look less like members than others do, which is a leak too; nothing is flipped.
    """
    rate = success_rate(outcome.members, outcome.nonmembers, outcome.threshold, confidence)
    area = auc(outcome.members, outcome.nonmembers, confidence)
    p_value = auc_p_value(outcome.members, outcome.nonmembers) if outcome.exchangeable else None
    return {
        "iteration": iteration,
        "attack": outcome.attack,
        "protocol": outcome.protocol,
        "population": population,
        **({} if outcome.slice is None else {"slice": outcome.slice}),
        "success_rate": rate.success_rate,
        "ci_low": rate.ci_low,
        "ci_high": rate.ci_high,
        "tpr": rate.tpr,
        "tnr": rate.tnr,
        "auc": area.value,
        "auc_ci_low": area.ci_low,
        "auc_ci_high": area.ci_high,
        "tpr_at_fpr": {f"{fpr:g}": tpr_at_fpr(outcome.members, outcome.nonmembers, fpr) for fpr in fprs},
        "n_members": rate.n_members,
        "n_nonmembers": rate.n_nonmembers,
        "p_value": p_value,
        "p_holm": p_value,
        "reverse": area.ci_high < 0.5,
    }


def with_holm(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm` adjusted over all of them: attacks, populations and slices of one audit."""
    adjusted = holm([row["p_value"] for row in rows])
    return [{**row, "p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def _fitted(name: str, sides: Sides, seed: int) -> Attack:
    attack = new_attack(name)
    check_extras(attack, *(getattr(sides, field.name) for field in dataclasses.fields(sides)))
    attack.fit(sides.calibration_members, sides.calibration_nonmembers, seed)
    return attack


def _in_sample(attack: Any, sides: Sides) -> Outcome:
    members, nonmembers = attack.score(sides.evaluation_members), attack.score(sides.evaluation_nonmembers)
    return Outcome(attack.name, "yu2021", members, nonmembers, best_threshold(members, nonmembers))


def _moments_yu2021(sides: Sides, seed: int) -> Outcome:
    attack = Moments()
    training = [
        side.take(np.arange(min(_YU_TRAINING_ROWS, len(side))))
        for side in (sides.calibration_members, sides.calibration_nonmembers)
    ]
    attack.fit_yu2021(training[0], training[1], sides.evaluation_members, sides.evaluation_nonmembers, seed)
    scores = attack.score(sides.evaluation_members), attack.score(sides.evaluation_nonmembers)
    member_above = float(np.finfo(np.float64).tiny)  # member when p > 1/2
    return Outcome(attack.name, "yu2021", *scores, member_above, exchangeable=False)
