"""The typed form of a run's configuration: one frozen dataclass a room, checked once."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit import AuditSettings
from tfpdu.audit.attacks import new_attack, required
from tfpdu.augment import AugmentSettings
from tfpdu.bias import Prior, eda_prior, given_prior, reference_prior, uniform_prior
from tfpdu.bias.eda.prior import EDAS
from tfpdu.bias.priors import names_of
from tfpdu.common.errors import UserError
from tfpdu.common.validation import in_range, non_negative, one_of, positive
from tfpdu.data import DrawSettings, PoolSizes, Records, ViewPolicy
from tfpdu.diffusion import GeneratorSettings, NoisyClassifierSettings
from tfpdu.ensemble import EnsembleSettings

LEAST_CANARIES = 20  # with fewer, half of them to fix the guesses, even all right guesses would bound next to nothing


@dataclasses.dataclass(frozen=True)
class DataSettings:
    """What to load, see `tfpdu.data.load`."""

    name: str
    directory: str = ""
    table: str = ""
    label: str = ""
    subject: str = ""
    image_size: int = 0
    attributes: tuple[str, ...] = ()
    target: str = ""
    cache: str = ""
    in_memory_gb: float = 4.0

    def __post_init__(self) -> None:
        non_negative(in_memory_gb=self.in_memory_gb)


@dataclasses.dataclass(frozen=True)
class PriorSettings:
    """The prior D: over which variables, and where its probabilities come from.

    Attributes:
      kind: "uniform", "given", "reference" (the shares in the auxiliary pool), or "eda" (S's own shares moved
        towards the cells in need by an estimation-of-distribution algorithm, see `tfpdu.bias.eda_prior`).
      over: one entry a constraint; an entry is a tuple of variable names (several make a joint).
      given: with kind "given", one tuple of probabilities an entry, joint cells row-major.
      eda: with kind "eda", which one: "umda", "mimic" or "cga".
      weight: with kind "eda", the share of the EDA's distribution in D; the table at most grows by 1 / (1 - weight).
      need: with kind "eda", the fitness: one tuple of numbers an entry, a number per cell, row-major, larger needs
        more. Empty: a run measures it, as the error of classifiers that are trained and tested on the auxiliary pool.
    """

    kind: str = "uniform"
    over: tuple[tuple[str, ...], ...] = ()
    given: tuple[tuple[float, ...], ...] = ()
    eda: str = "umda"
    weight: float = 0.5
    need: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        one_of(("uniform", "given", "reference", "eda"), **{"config.prior.kind": self.kind})
        one_of(EDAS, **{"config.prior.eda": self.eda})
        in_range(0, 0.99, **{"config.prior.weight": self.weight})
        if not self.over:
            raise UserError("config.prior.over: expected at least one variable, e.g. (('superclass',),)")
        if self.kind == "given" and len(self.given) != len(self.over):
            raise UserError(f"config.prior.given: {len(self.given)} entries for {len(self.over)} in config.prior.over")
        if self.need and len(self.need) != len(self.over):
            raise UserError(f"config.prior.need: {len(self.need)} entries for {len(self.over)} in config.prior.over")

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of all entries, each once."""
        return tuple(dict.fromkeys(name for entry in self.over for name in names_of(entry)))

    @property
    def needs_measuring(self) -> bool:
        """Whether a classifier has to say which cells are in need before the prior is known."""
        return self.kind == "eda" and not self.need

    def build(self, records: Records, reference: Records, need: Sequence[np.ndarray] | None = None) -> Prior:
        """The prior for these records; raises `UserError` where it does not fit them.

        Args:
          records: S.
          reference: the auxiliary pool.
          need: one float[K1, K2, ...] an entry, where `needs_measuring`.
        """
        if self.kind == "eda":
            if need is None and not self.need:
                raise UserError("config.prior.need: state the need of each cell; only `tfpdu run` measures it")
            stated = [np.array(cells, np.float64) for cells in self.need]
            return eda_prior(records, self.over, stated or need, eda=self.eda, weight=self.weight)
        if self.kind == "given":
            return given_prior(records, self.over, self.given)
        if self.kind == "reference":
            return reference_prior(records, self.over, reference)
        return uniform_prior(records, self.over)


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """Algorithm 2: T steps of forgetting; no step beyond `capacity` (Theorem 1's c) of the rows.

    Attributes:
      iterations: T; a step forgets one T-th of the originals.
      capacity: c, a share of the rows.
      until: the last step that the run does; 0 ends it after Algorithm 1 and learning, before anything is
        forgotten; -1: T.
    """

    iterations: int = 10
    capacity: float = 0.2
    until: int = -1

    def __post_init__(self) -> None:
        in_range(1, 125, **{"config.loop.iterations": self.iterations})  # rows remember theirs, plus 2, in 7 bits
        in_range(0, 1, **{"config.loop.capacity": self.capacity})
        in_range(-1, self.iterations, **{"config.loop.until": self.until})
        if 1 / self.iterations > self.capacity:
            raise UserError(
                f"config.loop.iterations={self.iterations}: a step forgets {1 / self.iterations:.0%} of the rows,"
                f" beyond config.loop.capacity={self.capacity:g}"
            )

    @property
    def last(self) -> int:
        """The last step that the run does, 0..T."""
        return self.iterations if self.until < 0 else self.until


@dataclasses.dataclass(frozen=True)
class DeletionSettings:
    """Deletion on request: what stays of the rows, and when a request is due.

    Attributes:
      mode: "experiment" keeps deleted rows in the run's record, for study; "service" erases every trace of them.
      days: from a request to the day when it is due.
      likely: a condition, such as "young == 'yes'", that holds for the rows that are likely to be asked for: they are
        gathered in few shards and late slices; empty: none are.
      group_floor: accuracy in [0, 1] that every group should keep; where one is under it after a deletion round, the
        receipt says so and `tfpdu forget` ends with exit code 3. The deletion is done all the same. 0: no floor.
    """

    mode: str = "experiment"
    days: int = 30
    likely: str = ""
    group_floor: float = 0.0

    def __post_init__(self) -> None:
        one_of(("experiment", "service"), **{"config.deletion.mode": self.mode})
        positive(**{"config.deletion.days": self.days})
        in_range(0, 1, **{"config.deletion.group_floor": self.group_floor})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that a run depends on."""

    seed: int
    data: DataSettings
    pools: PoolSizes
    draw: DrawSettings
    prior: PriorSettings
    augment: AugmentSettings
    generator: GeneratorSettings
    pretrained: str  # name or directory of a generator that is there already; empty: the run trains one
    steer: tuple[str, ...]  # attributes that the generator does not learn: noise-aware classifiers steer it to them
    noisy_classifier: NoisyClassifierSettings
    gate_rows: int
    ensemble: EnsembleSettings
    judge: EnsembleSettings
    views: ViewPolicy
    loop: LoopSettings
    deletion: DeletionSettings
    audit: AuditSettings  # in the loop
    full_audit: AuditSettings  # at the first, the middle and the last iteration
    canaries: int  # rows of the one-run audit, about half of which join S; 0: none
    show_originals: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Settings":
        """Builds and checks all settings; a value out of range is named as `config.<room>.<key>`."""
        if "bench" in config:
            raise UserError("--config: this is a benchmark's, for tfpdu benchmark; expected a run's, such as digits")
        try:
            return cls._from_config(config)
        except KeyError as error:
            raise UserError(f"config: {error.args[0]!r} is missing, so another version of tfpdu wrote it") from None

    @classmethod
    def _from_config(cls, config: Mapping[str, Any]) -> "Settings":
        generator = dict(config["generator"])
        gate_rows, pretrained = generator.pop("gate_rows"), str(generator.pop("pretrained"))
        steer, steer_images = tuple(generator.pop("steer")), generator.pop("steer_images")
        positive(**{"config.generator.gate_rows": gate_rows})
        if pretrained and generator["lineage"] != "public":
            raise UserError(
                f"config.generator.lineage={generator['lineage']}: a generator that was trained before the run"
                " (config.generator.pretrained) is 'public'"
            )
        if generator["lineage"] == "strict" and config["augment"]["scope"] == "shard":
            raise UserError("config.augment.scope=shard: with config.generator.lineage=strict expected 'global'")
        if generator["lineage"] == "strict" and not config["augment"].get("replenish", True):
            raise UserError("config.augment.replenish=False: with config.generator.lineage=strict expected True")
        ensemble = _build(EnsembleSettings, config, "ensemble")
        judge = functools.partial(dataclasses.replace, ensemble.one_model())  # as the ensemble, but for its own
        audit = dict(config["audit"])
        canaries = audit.pop("canaries")
        non_negative(**{"config.audit.canaries": canaries})
        if 0 < canaries < LEAST_CANARIES:
            raise UserError(f"config.audit.canaries: expected 0 or at least {LEAST_CANARIES}, got {canaries}")
        full = {"rows": audit.pop("full_rows"), "tensorflow_privacy": audit.pop("tensorflow_privacy")}
        return cls(
            seed=int(config["seed"]),
            data=_build(DataSettings, config, "data"),
            pools=_build(PoolSizes, config, "pools"),
            draw=_draw(config["draw"]),
            prior=_build(PriorSettings, config, "prior"),
            augment=_build(AugmentSettings, config, "augment"),
            generator=_checked(GeneratorSettings, generator, "generator"),
            pretrained=pretrained,
            steer=steer,
            noisy_classifier=_noisy_classifier(generator, steer_images),
            gate_rows=int(gate_rows),
            ensemble=ensemble,
            judge=_build(judge, config, "judge").one_model(),
            views=_build(ViewPolicy, config, "views"),
            loop=_build(LoopSettings, config, "loop"),
            deletion=_build(DeletionSettings, config, "deletion"),
            audit=_audit(audit, ensemble.shards),
            full_audit=_audit({**audit, **full}, ensemble.shards),
            canaries=int(canaries),
            show_originals=bool(config["report"]["originals"]),
        )


def _audit(values: dict[str, Any], shards: int) -> AuditSettings:
    settings: AuditSettings = _checked(AuditSettings, values, "audit")
    for name in settings.attacks:
        needed = required(new_attack(name))
        # Said now and not at the first audit, after the training.
        if missing := [extra for extra in needed if extra != "references"]:
            raise UserError(f"config.audit.attacks: {name!r} needs {', '.join(missing)}, which a run does not collect")
        if needed and shards < 2:
            raise UserError(f"config.audit.attacks: {name!r} needs reference models, so config.ensemble.shards >= 2")
        if name.endswith("_online"):
            raise UserError(f"config.audit.attacks: {name!r} needs models trained with each row; take the offline one")
    return settings


def _noisy_classifier(generator: Mapping[str, Any], images: int) -> NoisyClassifierSettings:
    positive(**{"config.generator.steer_images": images})
    shared = {name: generator[name] for name in ("fold", "flip", "precision")}
    return NoisyClassifierSettings(images=images, **shared)


def _draw(draw: Mapping[str, Any]) -> DrawSettings:
    if not draw["attribute"]:
        return DrawSettings(rows=draw["rows"])
    if len(draw["values"]) != len(draw["shares"]):
        raise UserError(f"config.draw.shares: {len(draw['shares'])} numbers for {len(draw['values'])} values")
    shares = dict(zip(draw["values"], draw["shares"], strict=True))
    if max(draw["shares"]) > 1:
        counts = {value: int(count) for value, count in shares.items()}
        return DrawSettings(rows=sum(counts.values()), counts={draw["attribute"]: counts})
    return DrawSettings(rows=draw["rows"], shares={draw["attribute"]: shares})


def _build(kind: Any, config: Mapping[str, Any], room: str) -> Any:
    return _checked(kind, dict(config[room]), room)


def _checked(kind: Any, values: dict[str, Any], room: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"config.{room}: {error}") from None
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith("config.") else f"config.{room}.{text}") from None
