"""What both studies share: rows, training and measuring."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from tfpdu.audit.auc import auc
from tfpdu.audit.fairness import ALL, CELLS, Row, measures
from tfpdu.audit.losses import cross_entropy_from_logits
from tfpdu.audit.predictions import MOST_CELLS, predictions_on
from tfpdu.bias.resample import COPY
from tfpdu.common import UserError
from tfpdu.common.cells import Line
from tfpdu.common.validation import did_you_mean, in_range, positive
from tfpdu.data import Records
from tfpdu.data.attributes import joint
from tfpdu.debiasing.methods import METHODS
from tfpdu.debiasing.training import Build, Course, Lesson, builder
from tfpdu.ensemble.networks import answers
from tfpdu.material import Material
from tfpdu.settings import Settings

OVER_GROUPS = ("worst_group_accuracy", "demographic_parity", "equal_opportunity", "equalized_odds")


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What a study runs.

    Attributes:
      methods: names in `METHODS`; "none", which all are compared with, comes first in any case.
      seeds: each draws initial weights, orders, views, copies and forget sets; S and the samples are one draw.
      eta: step size of group DRO's weights.
      share: of the smallest group, that the forget sets of the deletion study are as large as.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    seeds: tuple[int, ...] = (0, 1, 2)
    eta: float = 0.01
    share: float = 0.5

    def __post_init__(self) -> None:
        for name in self.methods:
            if name not in METHODS:
                raise UserError(
                    f"--methods: unknown {name!r}{did_you_mean(name, METHODS)}; known: {', '.join(METHODS)}"
                )
        for name in ("methods", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise UserError(
                    f"--{name}: expected at least one, each once, got {', '.join(map(str, values)) or 'none'}"
                )
        positive(**{"--eta": self.eta, "--share": self.share})
        in_range(0, 1, **{"--share": self.share})


class Study:
    """S, the test rows, and one way to train and to measure.

    Args:
      settings: of a run; config.ensemble says how to train.
      material: of that run.
      build: seed -> an untrained model; default the ResNet18 of config.ensemble.

    Raises:
      UserError: the prior is over no attribute, or is to be measured first.
    """

    def __init__(self, settings: Settings, material: Material, build: Build | None = None):
        if material.prior is None:
            raise UserError("config.prior.need: state the need of each cell; a study does not measure it")
        self.settings, self.prior = settings, material.prior
        self.attributes = [spec.name for spec in material.drawn.specs if spec.name in self.prior.variables]
        if not self.attributes:
            raise UserError("config.prior.over: expected an attribute, whose groups are compared")
        groups = int(np.prod([material.drawn.spec(name).cardinality for name in self.attributes]))
        if groups > MOST_CELLS:
            raise UserError(f"config.prior.over: {groups} groups, expected at most {MOST_CELLS}")
        self.records, self.auxiliary, self.test = material.drawn, material.pools.auxiliary, material.pools.test
        self._strangers = material.pools.non_members_evaluation
        self.course = Course(settings.ensemble, settings.views, len(self.records))
        self._build = build or builder(settings.ensemble, self.records)

    @property
    def attribute(self) -> str:
        """The name of what the groups are values of: one attribute, or several as "a x b"."""
        return " x ".join(self.attributes)

    def learn(self, lesson: Lesson, seed: int) -> keras.Model:
        """A model that has learned a lesson; those of one seed begin with the same weights."""
        model = self._build(seed)
        self.course.train(model, lesson, seed)
        return model

    def untrained(self, seed: int) -> keras.Model:
        """The model of a seed as each method finds it."""
        return self._build(seed)

    def measure(self, model: keras.Model, learned: Records) -> Line:
        """Accuracy and group fairness on the test rows, and membership attacks on the originals learned, JSON-ready.

        Returns:
          "measures": {name: {value, ci_low, ci_high}}, with "accuracy", "worst_cell_accuracy" (of class and group) and
          `OVER_GROUPS`; "groups" and "cells": {name: the same with n}. Intervals are of 95 % over test rows alone.
          What cannot be estimated is None. "membership": {group: {value, ci_low, ci_high, n}}, see `membership`.
        """
        return self.measures_on(model, self.test) | {"membership": self.membership(model, learned)}

    def membership(self, model: keras.Model, learned: Records) -> dict[str, Any]:
        """The AUC of the loss attack on each group's rows, against strangers of that group; 0.5 is guessing.

        A row is taken for one that was learned if its loss is small (Yeom et al. 2018). Strangers are the pool
        non_members_evaluation. Groups with fewer than two rows on either side are left out.
        """
        own = learned.take(learned.is_original & ~np.char.startswith(learned.ids, COPY))
        sides = []
        for rows in (own, self._strangers):
            if not len(rows):
                return {}
            losses = cross_entropy_from_logits(answers(model, rows.images), rows.labels)
            sides.append((-losses, self.groups(rows)[0]))
        found = {}
        for code, name in enumerate(self.groups(own)[1]):
            members, strangers = (score[codes == code] for score, codes in sides)
            if min(len(members), len(strangers)) > 1:
                area = auc(members, strangers)
                ends = {"value": area.value, "ci_low": area.ci_low, "ci_high": area.ci_high}
                found[name] = {**ends, "n": len(members)}
        return found

    def measures_on(self, model: keras.Model, records: Records) -> Line:
        """The same on other rows."""
        others = [spec.name for spec in records.specs if spec.name not in self.attributes]
        table = records.without_attributes(others)
        rows = measures(predictions_on(softmax(answers(model, table.images), axis=1), table))
        return as_line(rows, self.attribute)

    def groups(self, records: Records) -> tuple[np.ndarray, list[str]]:
        """The group of each row, int64[n] with -1 for unknown, and the groups' names as in `measure`."""
        spec, codes = joint(records, self.attributes)
        return codes, list(spec.values)


def as_line(rows: list[Row], attribute: str) -> Line:
    """The numbers of a study among fairness rows, see `Study.measure`."""
    ends = ("value", "ci_low", "ci_high")

    def over(name: str, metric: str) -> Mapping[str, Any]:
        found = next(r for r in rows if (r["attribute"], r["group"], r["metric"]) == (name, ALL, metric))
        return {end: found[end] for end in ends}

    def each(name: str) -> dict[str, Any]:
        mine = [r for r in rows if (r["attribute"], r["metric"]) == (name, "accuracy") and r["n"]]
        return {r["group"]: {end: r[end] for end in (*ends, "n")} for r in mine}

    found = {"accuracy": over(attribute, "average_accuracy")}
    found |= {name: over(attribute, name) for name in OVER_GROUPS}
    found["worst_cell_accuracy"] = over(CELLS + attribute, "worst_group_accuracy")
    return {"measures": found, "groups": each(attribute), "cells": each(CELLS + attribute)}


def note(line: Line) -> str:
    """A few words for the progress."""
    if "skipped" in line:
        return f"skipped: {line['skipped']}"
    accuracy, worst = (line["measures"][name]["value"] for name in ("accuracy", "worst_group_accuracy"))
    return f"accuracy {accuracy:.1%}, worst group {worst:.1%}" if worst is not None else f"accuracy {accuracy:.1%}"
