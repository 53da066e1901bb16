"""What a benchmark of unlearning methods runs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfpdu.audit import ROBUSTNESS_ATTACKS
from tfpdu.common import UserError
from tfpdu.common.validation import non_negative, one_of, positive
from tfpdu.data import ViewPolicy
from tfpdu.ensemble.backbones import BACKBONES
from tfpdu.unlearning.benchmark.recipes import check_recipe
from tfpdu.unlearning.benchmark.scenarios import Scenario
from tfpdu.unlearning.methods import DescentSettings


@dataclasses.dataclass(frozen=True)
class BenchmarkSettings:
    """The grid, and how its models are trained and measured.

    Attributes:
      rows: training rows, drawn from the private pool once; seeds draw weights, orders and forget sets.
      scenarios: names, see `KINDS`.
      methods: names in `METHODS`, "sharded", "retrain_again" (how far two retrained models are apart), or one's own by
        "package.module:name"; "retrain", the reference, is always there.
      seeds: one original model and one forget set of each scenario for each.
      backbone: what `build` names: "resnet18" and others of `BACKBONES`, or "package.module:function", seed -> model.
      options: of the backbone's builder, such as {"stem": "imagenet", "width": 64}.
      initial: a file of ImageNet weights to start from, as of `tfpdu convert`; "" starts from nothing.
      references: models for RMIA, each of a random half of all rows; an even number, or 0 to do without RMIA.
      held_out: non-members that forgotten rows are compared with, at most.
      population: non-members that RMIA compares every row with, at most; and the auditor's in "stackelberg".
      robust_rows: rows of each of forget, retain and test that are attacked; 0 attacks none.
      robust_attacks: names in `tfpdu.audit.ROBUSTNESS_ATTACKS`.
      audit_rows: rows a role for M-Loss and Moments.
      threads: of TensorFlow.
      training: of the originals, references and retrained models.
      views: of all training, and of Moments' queries.
      recipes: settings of methods by their name; a name may stand with a scenario, "amun@random:0.1", before which it
        goes.
    """

    rows: int
    scenarios: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    training: DescentSettings
    views: ViewPolicy
    backbone: str = "resnet18"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    initial: str = ""
    references: int = 8
    held_out: int = 2000
    population: int = 1000
    robust_rows: int = 500
    robust_attacks: tuple[str, ...] = ("fgsm", "pgd_linf", "pgd_l2", "square")
    audit_rows: int = 250
    threads: int = 2
    recipes: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        positive(rows=self.rows, held_out=self.held_out, population=self.population, audit_rows=self.audit_rows)
        non_negative(references=self.references, robust_rows=self.robust_rows)
        if self.references % 2:
            raise UserError(f"references: expected an even number, since they come in pairs, got {self.references}")
        for name in ("scenarios", "methods", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise UserError(
                    f"{name}: expected at least one, each once, got {', '.join(map(str, values)) or 'none'}"
                )
        worst = [name for name in self.scenarios if Scenario.parse(name).needs_memorised]
        if worst and not self.references:
            raise UserError(f"scenario {worst[0]}: needs reference models, so references >= 2")
        for name in self.robust_attacks:
            one_of(ROBUSTNESS_ATTACKS, robust_attacks=name)
        if self.backbone not in BACKBONES and ":" not in self.backbone:
            one_of(BACKBONES, backbone=self.backbone)
        for method in self.methods:
            check_recipe(method, self)
        for method in (name.partition("@")[0] for name in self.recipes):  # a preset's, of methods left out by flag
            check_recipe(method, self, "recipes")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "BenchmarkSettings":
        """From a config of bench, training, views and recipes; values out of range are named as config.<room>.<key>."""
        views = _checked(ViewPolicy, config["views"], "views")
        training = _checked(DescentSettings, {**config["training"], "views": views}, "training")
        rest = {"training": training, "views": views, "recipes": config["recipes"]}
        return _checked(cls, {**config["bench"], **rest}, "bench")


def _checked(kind: Any, values: Mapping[str, Any], room: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"config.{room}: {error}") from None
    except UserError as error:
        raise UserError(f"config.{room}.{error}") from None
