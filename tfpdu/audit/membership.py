"""The membership audit of one model: rows of `audit.json` for each population, protocol and attack."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpdu.audit import tensorflow_privacy as adapter
from tfpdu.audit.attacks import ATTACKS
from tfpdu.audit.protocols import PROTOCOLS, Outcome, Sides, as_row
from tfpdu.audit.selection import Matched, check_disjoint, evaluation_role, matched
from tfpdu.audit.signals import Predict, Signals, collect_signals
from tfpdu.common.progress import say
from tfpdu.common.validation import in_range, one_of, positive
from tfpdu.data.records import Records, concatenate

if TYPE_CHECKING:
    from tfpdu.data.views import ViewPolicy


@dataclasses.dataclass(frozen=True)
class AuditSettings:
    """How much is audited, and how.

    Attributes:
      rows: rows a role: at most so many members and as many non-members, for calibration and again for evaluation.
      protocols: names in `tfpdu.audit.PROTOCOLS`.
      attacks: names in `tfpdu.audit.ATTACKS`.
      tensorflow_privacy: that package's attacks to run as well, on the evaluation rows, as a protocol of this name: of
        "threshold", "entropy", "lr", "knn", "mlp" (10 s at 500 rows a role) and "rf" (minutes).
      least_rows: a population with fewer matched rows in either role is left out.
      fprs: false-positive rates at which the true-positive rate is told.
      confidence: of all intervals.
      block_rows: images that go to the model at once.
    """

    rows: int = 500
    protocols: tuple[str, ...] = ("holdout",)
    attacks: tuple[str, ...] = ("m_loss", "m_mean", "moments")
    tensorflow_privacy: tuple[str, ...] = ()
    least_rows: int = 12
    fprs: tuple[float, ...] = (0.1, 0.01)
    confidence: float = 0.95
    block_rows: int = 512

    def __post_init__(self) -> None:
        positive(rows=self.rows, block_rows=self.block_rows)
        in_range(adapter.LEAST_ROWS if self.tensorflow_privacy else 2, 2**31, least_rows=self.least_rows)
        in_range(0.5, 0.9999, confidence=self.confidence)
        for name in self.protocols:
            one_of(PROTOCOLS, protocols=name)
        for name in self.attacks:
            one_of(ATTACKS, attacks=name)
        for name in self.tensorflow_privacy:
            one_of({**adapter.THRESHOLDS, **adapter.TRAINED}, tensorflow_privacy=name)
        for fpr in self.fprs:
            in_range(0, 1, fprs=fpr)


def audit_members(
    predict: Predict,
    populations: Mapping[str, Records],
    calibration_nonmembers: Records,
    evaluation_nonmembers: Records,
    *,
    policy: "ViewPolicy",
    seed: int,
    settings: AuditSettings | None = None,
    iteration: int = 0,
    note: Callable[[str], None] = say,
) -> list[dict[str, Any]]:
    """Attacks one model on each population.

    A population's rows are parted in calibration and evaluation by a coin per subject, or else per id; at most
    `settings.rows` of either are drawn by hash and matched with non-members by label and attributes (`matched`). The
    model is asked once about every row, plain and in each view, however many populations the row belongs to. The rows
    of `audit.json` do not depend on the order of any table.

    Args:
      predict: the audited model in evaluation mode.
      populations: name -> rows under test, such as all_originals, forgotten, remaining. They may overlap.
      calibration_nonmembers: rows that no part of the pipeline has seen, to fit attacks and thresholds on.
      evaluation_nonmembers: more such rows, to count on; disjoint from the former, by subject too.
      policy: the views of the training.
      seed: the seed of the training, so that the members' views are those they were trained on.
      settings: see `AuditSettings`; the defaults if None.
      iteration: copied into the rows.
      note: called with a line for each population that was left out, unless it is empty, or not matched well, and why.

    Returns:
      Dicts with the keys of `audit.json`, ordered by population, protocol and attack as given.

    Raises:
      UserError: members among the non-members, or answers that are no probabilities.
    """
    settings = settings or AuditSettings()
    pools = {"calibration_nonmembers": calibration_nonmembers, "evaluation_nonmembers": evaluation_nonmembers}
    check_disjoint(dict(populations), pools)
    check_disjoint({"calibration_nonmembers": calibration_nonmembers}, {"evaluation_nonmembers": evaluation_nonmembers})
    plans = {}
    for name, records in populations.items():
        roles = _plan(records, calibration_nonmembers, evaluation_nonmembers, settings.rows, seed)
        if _usable(name, roles, settings, note):
            plans[name] = roles
    if not plans:
        return []
    tables = [*populations.values(), calibration_nonmembers, evaluation_nonmembers]
    signals = collect_signals(predict, _union(tables, plans), policy, seed, settings.block_rows)
    return [
        as_row(outcome, iteration=iteration, population=name, fprs=settings.fprs, confidence=settings.confidence)
        for name, roles in plans.items()
        for outcome in _outcomes(_sides(signals, roles), settings, seed)
    ]


def _outcomes(sides: Sides, settings: AuditSettings, seed: int) -> Iterator[Outcome]:
    for protocol in settings.protocols:
        yield from PROTOCOLS[protocol](sides, settings.attacks, seed)
    yield from adapter.run_attacks(
        sides.evaluation_members, sides.evaluation_nonmembers, settings.tensorflow_privacy, seed
    )


def _plan(records: Records, calibration: Records, evaluation: Records, rows: int, seed: int) -> tuple[Matched, Matched]:
    role = evaluation_role(records, seed)
    return matched(records, ~role, calibration, rows, seed), matched(records, role, evaluation, rows, seed)


def _usable(name: str, roles: tuple[Matched, Matched], settings: AuditSettings, note: Callable[[str], None]) -> bool:
    least = min(len(role.members) for role in roles)
    if not any(len(role.members) + role.dropped for role in roles):
        return False
    if least < settings.least_rows:
        note(f"audit: {name} left out, {least} matched rows in a role, at least {settings.least_rows} are needed")
        return False
    for role, title in zip(roles, ("calibration", "evaluation"), strict=True):
        drawn = len(role.members) + role.dropped
        if role.exact < 0.9 * drawn:
            note(
                f"audit: {name}, {title}: of {drawn} rows {role.exact} have a non-member of the same label and "
                f"attributes, {len(role.members) - role.exact} one of the same label, {role.dropped} none (left out)"
            )
    return True


def _union(tables: list[Records], plans: Mapping[str, tuple[Matched, Matched]]) -> Records:
    """Every row that some plan names, once."""
    wanted = np.unique(
        np.concatenate([ids for roles in plans.values() for r in roles for ids in (r.members, r.nonmembers)])
    )
    parts = []
    for table in tables:
        chosen = np.isin(table.ids, wanted)
        parts.append(table.take(chosen))
        wanted = np.setdiff1d(wanted, table.ids)
    return concatenate([part for part in parts if len(part)])


def _sides(signals: Signals, roles: tuple[Matched, Matched]) -> Sides:
    calibration, evaluation = roles
    return Sides(
        signals.of(calibration.members),
        signals.of(calibration.nonmembers),
        signals.of(evaluation.members),
        signals.of(evaluation.nonmembers),
    )
