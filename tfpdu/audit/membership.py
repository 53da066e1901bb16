"""The membership audit of one model: rows of `audit.json` for each population, protocol and attack."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpdu.audit import tensorflow_privacy as adapter
from tfpdu.audit.attacks import new_attack, required
from tfpdu.audit.extras import Extras
from tfpdu.audit.protocols import PROTOCOLS, Outcome, Sides, as_row, with_holm
from tfpdu.audit.selection import Matched, check_disjoint, evaluation_role, matched
from tfpdu.audit.signals import Predict, Signals, collect_signals
from tfpdu.audit.slices import check_slices, paired_slices, slice_masks
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
      attacks: names in `tfpdu.audit.ATTACKS`; "blind", the baseline that must be at 50 %; and one's own as
        "package:function", see `own_attack`.
      tensorflow_privacy: that package's attacks to run as well, on the evaluation rows, as a protocol of this name: of
        "threshold", "entropy", "lr", "knn", "mlp" (10 s at 500 rows a role) and "rf" (minutes).
      least_rows: a population with fewer matched rows in either role is left out.
      fprs: false-positive rates at which the true-positive rate is told.
      confidence: of all intervals.
      slices: "label", "correct" and names of attributes: each attack is also counted on the evaluation rows of each
        class, those classified right and wrong, and each attribute value (attack and threshold stay as fitted on all
        calibration rows); a slice with under `least_rows` rows on a side is left out.
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
    slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        positive(rows=self.rows, block_rows=self.block_rows)
        in_range(adapter.LEAST_ROWS if self.tensorflow_privacy else 2, 2**31, least_rows=self.least_rows)
        in_range(0.5, 0.9999, confidence=self.confidence)
        for name in self.protocols:
            one_of(PROTOCOLS, protocols=name)
        for name in self.attacks:
            new_attack(name)
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
    extras: Extras | None = None,
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
      Dicts with the keys of `audit.json` (see `as_row`), ordered by population, protocol, attack and slice as given.
      `p_holm` is adjusted over all of them.

    Raises:
      UserError: members among the non-members, answers that are no probabilities, or an attack whose extras are not
        given.
    """
    settings, extras = settings or AuditSettings(), extras or Extras()
    needed = _needed(settings, extras)

    def ask(records: Records) -> Signals:
        signals = collect_signals(predict, records, policy, seed, settings.block_rows)
        return extras.join(signals, records, predict, needed, settings.block_rows)

    pools = calibration_nonmembers, evaluation_nonmembers
    outcomes = attack_populations(ask, populations, *pools, seed=seed, settings=settings, note=note)
    return audit_rows(outcomes, settings, iteration)


def attack_populations(
    ask: Callable[[Records], Signals],
    populations: Mapping[str, Records],
    calibration_nonmembers: Records,
    evaluation_nonmembers: Records,
    *,
    seed: int,
    settings: AuditSettings,
    note: Callable[[str], None] = say,
) -> list[tuple[str, Outcome]]:
    """What `audit_members` counts: every score behind its rows, for ROC curves and histograms.

    Args:
      ask: rows -> their signals in that order, with the extra answers that the attacks need; called once at most.
      populations: see `audit_members`, as for the other arguments.
      calibration_nonmembers: see there.
      evaluation_nonmembers: see there.
      seed: of roles, draws and attacks.
      settings: see `AuditSettings`.
      note: see `audit_members`.

    Returns:
      (population, outcome), ordered by population, protocol, attack and slice as given.
    """
    plans, records = _planned(populations, calibration_nonmembers, evaluation_nonmembers, seed, settings, note)
    if records is None:
        return []
    signals = ask(records)
    return [
        (name, outcome)
        for name, roles in plans.items()
        for outcome in _outcomes(_sides(signals, roles), records, settings, seed)
    ]


def audited_rows(
    populations: Mapping[str, Records],
    calibration_nonmembers: Records,
    evaluation_nonmembers: Records,
    *,
    seed: int,
    settings: AuditSettings,
    note: Callable[[str], None] = say,
) -> Records | None:
    """The rows that `attack_populations` will ask about, each once; None where every population is left out."""
    return _planned(populations, calibration_nonmembers, evaluation_nonmembers, seed, settings, note)[1]


def audit_rows(
    outcomes: Sequence[tuple[str, Outcome]], settings: AuditSettings, iteration: int = 0
) -> list[dict[str, Any]]:
    """The rows of `audit.json` for the outcomes of one audit, `p_holm` adjusted over all of them."""
    rows = [
        as_row(outcome, iteration=iteration, population=name, fprs=settings.fprs, confidence=settings.confidence)
        for name, outcome in outcomes
    ]
    return with_holm(rows)


def _needed(settings: AuditSettings, extras: Extras) -> list[str]:
    """The extra answers that some attack needs; raises if one is not given."""
    for name in settings.attacks:
        extras.check(required(new_attack(name)), name)
    return sorted({extra for name in settings.attacks for extra in required(new_attack(name))})


def _outcomes(sides: Sides, records: Records, settings: AuditSettings, seed: int) -> Iterator[Outcome]:
    """Each outcome on all evaluation rows, followed by the same on each slice."""
    members, nonmembers = sides.evaluation_members, sides.evaluation_nonmembers
    masks = [slice_masks(side, records, settings.slices) for side in (members, nonmembers)]
    slices = paired_slices(masks[0], masks[1], settings.least_rows)
    for protocol in settings.protocols:
        for outcome in PROTOCOLS[protocol](sides, settings.attacks, seed):
            yield outcome
            yield from (outcome.part(name, *masks) for name, masks in slices.items())
    yield from adapter.run_attacks(members, nonmembers, settings.tensorflow_privacy, seed, slices=slices)


def _planned(
    populations: Mapping[str, Records],
    calibration: Records,
    evaluation: Records,
    seed: int,
    settings: AuditSettings,
    note: Callable[[str], None],
) -> tuple[dict[str, tuple[Matched, Matched]], Records | None]:
    """Both roles of each population that has enough rows, and all rows of all of them."""
    check_slices(settings.slices, evaluation)
    check_disjoint(dict(populations), {"calibration_nonmembers": calibration, "evaluation_nonmembers": evaluation})
    check_disjoint({"calibration_nonmembers": calibration}, {"evaluation_nonmembers": evaluation})
    plans = {}
    for name, records in populations.items():
        roles = _plan(records, calibration, evaluation, settings.rows, seed)
        if _usable(name, roles, settings, note):
            plans[name] = roles
    return plans, _union([*populations.values(), calibration, evaluation], plans) if plans else None


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
