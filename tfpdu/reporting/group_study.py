"""What a study of group fairness says: means, paired differences and verdicts over seeds; terminal, CSV and JSON."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit.spread import spread
from tfpdu.reporting.formatting import MISSING, aligned, decimal

Line = Mapping[str, Any]

# measure -> (words, 1 where more is better and -1 where less is)
MEASURES: dict[str, tuple[str, int]] = {
    "worst_group_accuracy": ("worst-group accuracy", 1),
    "accuracy": ("accuracy", 1),
    "worst_cell_accuracy": ("worst class x group accuracy", 1),
    "demographic_parity": ("demographic parity difference", -1),
    "equal_opportunity": ("equal opportunity difference", -1),
    "equalized_odds": ("equalized odds difference", -1),
}
GROUP = "group:"  # before a group's name, for its accuracy as a measure
MEMBERSHIP = "membership:"  # the same, for the AUC of an attack on its rows
_KINDS = {"measures": "measure", "groups": "group", "cells": "cell", "membership": "membership"}


@dataclasses.dataclass(frozen=True)
class Found:
    """A measure, or a paired difference, over seeds, in points.

    Attributes:
      values: of each seed.
      mean: of them.
      sd: their deviation (ddof 1); None of a single seed.
      low: lower end of Student's 95 % interval of the mean; None of a single seed.
      high: upper end.
    """

    values: tuple[float, ...]
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Found | None":
        """None of no value."""
        if not values:
            return None
        if len(values) == 1:
            return cls(tuple(values), values[0])
        s = spread(values)
        return cls(tuple(values), s.mean, s.sd, s.ci_low, s.ci_high)

    def show(self) -> str:
        """'74.3 ±0.4', of a measure."""
        return decimal(self.mean, 1) if self.sd is None else f"{decimal(self.mean, 1)} ±{decimal(self.sd, 1)}"

    def show_difference(self) -> str:
        """'+2.1 [-0.5, 4.7]'."""
        text = f"{_clean(self.mean):+.1f}"
        return text if self.low is None else f"{text} [{_clean(self.low):.1f}, {_clean(self.high or 0.0):.1f}]"

    def side(self) -> int | None:
        """1 or -1 where the interval lies on one side of 0, 0 where it holds 0; None of a single seed."""
        if self.low is None or self.high is None:
            return None
        return int(self.low > 0) - int(self.high < 0)


class Results:
    """The lines of a study's cells.

    Args:
      lines: each with arm, seed, and measures and groups in [0, 1], or skipped.
    """

    def __init__(self, lines: Sequence[Line]):
        self.lines = list(lines)
        self.arms = list(dict.fromkeys(str(line["arm"]) for line in lines))
        self._by = {(line["arm"], line["seed"]): line for line in lines if "skipped" not in line}

    @property
    def seeds(self) -> list[int]:
        """Those of which something is done."""
        return list(dict.fromkeys(line["seed"] for line in self.lines))

    @property
    def measures(self) -> list[str]:
        """The measures that some arm has."""
        return [name for name in MEASURES if any(self.values(arm, name) for arm in self.arms)]

    @property
    def groups(self) -> list[str]:
        """The groups' names, in order."""
        return list(dict.fromkeys(name for line in self._by.values() for name in line["groups"]))

    def measured(self, arm: str) -> bool:
        """Whether some seed of an arm is done and not skipped."""
        return any(key[0] == arm for key in self._by)

    def skipped(self) -> dict[str, str]:
        """Why arms were not run."""
        return {line["arm"]: line["skipped"] for line in self.lines if "skipped" in line}

    def of(self, arm: str) -> list[Line]:
        """The measured lines of an arm."""
        return [line for key, line in self._by.items() if key[0] == arm]

    def values(self, arm: str, measure: str) -> dict[int, float]:
        """Points by seed, of those estimable; `measure` is of `MEASURES`, "group:<name>" or "membership:<name>"."""
        found = {line["seed"]: _value(line, measure) for line in self.of(arm)}
        return {seed: value for seed, value in found.items() if value is not None}

    def found(self, arm: str, measure: str) -> Found | None:
        """A measure over seeds."""
        return Found.of(list(self.values(arm, measure).values()))

    def difference(self, arm: str, other: str, measure: str) -> Found | None:
        """A measure of an arm less that of another, seed by seed; "group:" is the one that the arm's request hits."""
        pairs = []
        for line in self.of(arm):
            name = GROUP + line["group"] if measure == GROUP else measure
            base = self._by.get((other, line["seed"]))
            values = _value(line, name), _value(base, name) if base else None
            if values[0] is not None and values[1] is not None:
                pairs.append(values[0] - values[1])
        return Found.of(pairs)

    def best(self, arms: Sequence[str], measure: str) -> str | None:
        """The arm with the best mean, the first of equal ones; None where none has any."""
        means = {arm: one.mean for arm in arms if (one := self.found(arm, measure)) is not None}
        return max(means, key=lambda arm: MEASURES[measure][1] * means[arm]) if means else None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A sentence that numbers chose; `mood` is "good", "bad" or "" where nothing can be told."""

    text: str
    mood: str = ""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference between two arms that a study asks about; `column` is the head that it stands under."""

    arm: str
    other: str
    measure: str
    found: Found
    column: str


def as_lines(results: Results, names: Mapping[str, str], verdicts: Sequence[Verdict]) -> list[str]:
    """Table and verdicts for the terminal; numbers are in %, differences in points, ± one deviation over seeds."""
    shown = results.measures
    table = [["", *(MEASURES[key][0] for key in shown)]]
    for arm in results.arms:
        if results.measured(arm):
            table.append([names.get(arm, arm), *(cell(results.found(arm, key)) for key in shown)])
    skipped = [f"{names.get(arm, arm)} was not run: {why}" for arm, why in results.skipped().items()]
    told = [verdict.text for verdict in verdicts]
    return [*aligned(table), "", *(line for line in skipped if line[0].upper() + line[1:] + "." not in told), *told]


def cell(found: Found | None) -> str:
    """A number as a table shows it."""
    return MISSING if found is None else found.show()


def as_csv(lines: Sequence[Line]) -> str:
    """Every number of every cell: a line a measure, a group a class x group cell, or an attack; values in [0, 1]."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "seed", "kind", "name", "value", "ci_low", "ci_high", "n", "skipped"))
    for line in lines:
        head = (line["arm"], line["seed"])
        if "skipped" in line:
            writer.writerow((*head, "", "", "", "", "", "", line["skipped"]))
            continue
        for kind, word in _KINDS.items():
            for name, one in line.get(kind, {}).items():
                numbers = [one.get(key) for key in ("value", "ci_low", "ci_high", "n")]
                writer.writerow((*head, word, name, *("" if v is None else v for v in numbers), ""))
    return text.getvalue()


def as_summary(results: Results, differences: Sequence[Difference], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Means, differences and verdicts as JSON; all in points."""

    def numbers(one: Found) -> dict[str, Any]:
        return {"mean": one.mean, "sd": one.sd, "ci_low": one.low, "ci_high": one.high, "seeds": len(one.values)}

    arms = {}
    for arm in results.arms:
        keys = [*results.measures, *(kind + name for kind in (GROUP, MEMBERSHIP) for name in results.groups)]
        arms[arm] = {key: numbers(one) for key in keys if (one := results.found(arm, key)) is not None}
    pairs = [{"arm": d.arm, "other": d.other, "measure": d.measure, **numbers(d.found)} for d in differences]
    told = [verdict.text for verdict in verdicts]
    return {"arms": arms, "differences": pairs, "skipped": results.skipped(), "verdicts": told}


def _value(line: Line, measure: str) -> float | None:
    prefix, _, name = measure.partition(":") if measure.startswith((GROUP, MEMBERSHIP)) else ("", "", measure)
    one = line.get({"": "measures", "group": "groups"}.get(prefix, prefix), {}).get(name)
    return None if one is None or one["value"] is None else 100 * float(one["value"])


def _clean(value: float) -> float:
    """One digit after the point, and no -0.0."""
    return float(np.round(value, 1)) + 0.0
