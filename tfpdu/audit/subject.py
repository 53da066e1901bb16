"""What an audit is about: a model, or bare answers, and rows of known membership."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfpdu.audit.answer_file import Answers
from tfpdu.audit.attacks import new_attack, required, uses_views
from tfpdu.audit.extras import Extras
from tfpdu.audit.membership import AuditSettings, attack_populations, audited_rows
from tfpdu.audit.models import AuditedModel
from tfpdu.audit.protocols import Outcome
from tfpdu.audit.selection import evaluation_role
from tfpdu.audit.signals import EXTRAS, Predict, Signals, collect_signals
from tfpdu.common.errors import UserError
from tfpdu.common.progress import say
from tfpdu.data.records import Records
from tfpdu.data.views import ViewPolicy

# What is run where nobody says otherwise: no two of them order rows alike, and none costs more than its answers.
USUAL = ("blind", "correctness", "m_loss", "entropy", "modified_entropy", "m_mean", "moments")
USUAL_EXTRAS = {"references": ("lira_offline", "rmia_offline"), "earlier": ("two_versions",)}
Watch = Callable[[Predict, int], Predict]
"""(the model, how many rows it will be asked about) -> the model, watched; to show progress."""


@dataclasses.dataclass(frozen=True)
class Subject:
    """Rows of known membership, and how to get signals of them.

    Attributes:
      title: for people.
      populations: name -> members.
      calibration_nonmembers: rows that the model never saw, to fit attacks on.
      evaluation_nonmembers: more of them, to count on.
      collect: (rows, extras' names, rows at once, watch) -> their signals.
      given: the extra answers that there are, of `EXTRAS`.
      views: N, the views of each row.
      seed: of roles, draws, views and attacks.
      iteration: of a run, for the rows.
    """

    title: str
    populations: Mapping[str, Records]
    calibration_nonmembers: Records
    evaluation_nonmembers: Records
    collect: Callable[[Records, Sequence[str], int, Watch], Signals]
    given: frozenset[str]
    views: int
    seed: int
    iteration: int = 0

    def usual_attacks(self) -> tuple[str, ...]:
        """The attacks to run where nobody names any: as far as the answers go."""
        plain = [name for name in USUAL if self.views or not uses_views(new_attack(name))]
        return (*plain, *(name for extra, names in USUAL_EXTRAS.items() if extra in self.given for name in names))

    def check(self, attacks: Sequence[str]) -> None:
        """Raises `UserError` where an attack needs what is not given."""
        for name in attacks:
            attack = new_attack(name)
            for extra in required(attack):
                if extra not in self.given:
                    raise UserError(
                        f"attack {name}: needs {extra}, and {self.title} gives none; {_HELP.get(extra, '')}"
                    )
            if uses_views(attack) and not self.views:
                raise UserError(
                    f"attack {name}: needs answers on views, and {self.title} has the plain rows' alone;"
                    " give [n, 1 + N, C]"
                )

    def rows(self, settings: AuditSettings) -> Records | None:
        """The rows that an audit asks about, each once."""
        pools = self.calibration_nonmembers, self.evaluation_nonmembers
        return audited_rows(self.populations, *pools, seed=self.seed, settings=settings, note=lambda line: None)

    def attack(
        self, settings: AuditSettings, note: Callable[[str], None] = say, watch: Watch = lambda predict, rows: predict
    ) -> tuple[list[tuple[str, Outcome]], Signals]:
        """Every score behind the rows of an audit (see `attack_populations`), and all signals.

        Raises:
          UserError: an attack needs what is not given, or there are fewer rows than the protocol needs.
        """
        self.check(settings.attacks)
        needed = sorted({extra for name in settings.attacks for extra in required(new_attack(name))})
        seen: list[Signals] = []
        left_out: list[str] = []

        def ask(records: Records) -> Signals:
            seen.append(self.collect(records, needed, settings.block_rows, watch))
            return seen[0]

        pools = self.calibration_nonmembers, self.evaluation_nonmembers
        outcomes = attack_populations(
            ask, self.populations, *pools, seed=self.seed, settings=settings, note=left_out.append
        )
        if not seen:
            raise UserError(left_out[-1] if left_out else "audit: there are no members")
        for line in left_out:
            note(line)
        return outcomes, seen[0]


_HELP = {
    "references": "reference models' answers come with --logits (members_references) or from a run of several shards",
    "adversarial": "perturbed images come with --model, or with --logits (members_adversarial)",
    "earlier": "name the earlier model with --earlier, or give members_earlier with --logits",
}


def subject_of_answers(answers: Answers, title: str, seed: int = 0) -> Subject:
    """Bare answers; non-members are parted in calibration and evaluation by a coin per subject, or else per id."""
    signals = answers.signals
    calibration, evaluation = parted(answers.nonmembers, seed)
    return Subject(
        title=title,
        populations={"members": answers.members},
        calibration_nonmembers=calibration,
        evaluation_nonmembers=evaluation,
        collect=lambda records, needed, block_rows, watch: answers.ask(records),
        given=frozenset(extra for extra in EXTRAS if getattr(signals, extra) is not None),
        views=answers.views,
        seed=seed,
    )


def subject_of_model(
    model: AuditedModel,
    members: Records,
    nonmembers: Records,
    *,
    policy: ViewPolicy,
    seed: int = 0,
    earlier: AuditedModel | None = None,
    budget: int = 8,
    title: str = "model",
) -> Subject:
    """Any model with pictures of both sides.

    Args:
      model: what is audited.
      members: rows that it was trained on.
      nonmembers: rows that it was not.
      policy: of the views that it is asked about. They are the training's very views only if that made them by
        `tfpdu.data.views` with this seed and these ids; otherwise fresh ones of, at best, the same kind.
      seed: of everything.
      earlier: an earlier version, for attacks that compare two.
      budget: grey levels, for attacks on perturbed images.
      title: for people.
    """
    extras = Extras(
        adversarial=(lambda records: model.perturbed(records.images[:], records.labels, budget))
        if model.gradient and model.pixels != "uint8"
        else None,
        earlier=None if earlier is None else earlier.probabilities,
    )
    calibration, evaluation = parted(nonmembers, seed)
    return subject_of_predict(
        model.probabilities,
        {"members": members},
        (calibration, evaluation),
        policy=policy,
        seed=seed,
        extras=extras,
        title=title,
    )


def subject_of_predict(
    predict: Predict,
    populations: Mapping[str, Records],
    pools: tuple[Records, Records],
    *,
    policy: ViewPolicy,
    seed: int,
    extras: Extras,
    title: str,
) -> Subject:
    """A model as a function; arguments as for `tfpdu.audit.audit_members`."""

    def collect(records: Records, needed: Sequence[str], block_rows: int, watch: Watch) -> Signals:
        watched = watch(predict, len(records) * (1 + policy.count))
        signals = collect_signals(watched, records, policy, seed, block_rows)
        return extras.join(signals, records, predict, needed, block_rows)

    return Subject(
        title=title,
        populations=populations,
        calibration_nonmembers=pools[0],
        evaluation_nonmembers=pools[1],
        collect=collect,
        given=frozenset(name for name in EXTRAS if getattr(extras, name) is not None),
        views=policy.count,
        seed=seed,
    )


def parted(nonmembers: Records, seed: int) -> tuple[Records, Records]:
    """Non-members for calibration and for evaluation: one coin per subject, or else per id."""
    role = evaluation_role(nonmembers, seed)
    return nonmembers.take(~role), nonmembers.take(role)


def accuracy_on(signals: Signals, records: Records) -> float | None:
    """Share of these rows, as far as they were asked about, that the model gets right; None where none was."""
    rows = np.isin(signals.ids, records.ids)
    if not rows.any():
        return None
    return float(np.mean(signals.probabilities[rows].argmax(axis=1) == signals.labels[rows]))
