"""What a run measured, by name and with intervals, and the same over several seeds.

Names: "originals", "added", "count/<attribute>=<value>", "kl_before", "kl_after", "cas_ratio", "generator_auc",
"test_accuracy@before", and with an iteration after the @ ("last" is the run's last one) "retain_accuracy@",
"test_accuracy@", "step_seconds@", "originals@", "kl@", "success/<attack>@", "success/strongest@",
"lead/<attack>-<attack>@". With a stage after it ("before" and "after" Algorithm 1, "last")
"accuracy/<attribute>=<group>@" and "worst/<attribute>@"; and "gain/<attribute>=<group>" and "gain/worst <attribute>",
after less before.

References:
  [1] Clopper, Pearson. The use of confidence or fiducial limits illustrated in the case of the binomial. 1934.
  [2] Zou, Donner. Construction of confidence limits about effect measures: a general approach. 2008 (square-and-add).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfpdu.common.intervals import clopper_pearson, student
from tfpdu.reporting.run_data import RunData
from tfpdu.reporting.summary import main_audit, strongest

Row = Mapping[str, Any]
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval.

    Attributes:
      value: the number, over several runs their mean.
      low: lower end; None where nothing is known of its spread. Counts are exact: both ends are the count.
      high: upper end, likewise.
      runs: how many runs are in it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    runs: int = 1

    @property
    def interval(self) -> str:
        """In words, how the interval came about."""
        if self.low is None:
            return "none from one run"
        if self.runs > 1:
            return f"t over {self.runs} seeds"
        return "exact" if self.low == self.high else "binomial, one run"


Measurements = dict[str, Measured]


def measurements(run: RunData) -> Measurements:
    """All that a run has measured so far."""
    return {
        **_data(run),
        **_iterations(run),
        **_attacks(run),
        **_groups(run),
    }


def over_seeds(runs: Sequence[Measurements]) -> Measurements:
    """Means and t-intervals of what all runs measured; of a single run its own intervals.

    >>> over_seeds([{"a": Measured(1.0)}, {"a": Measured(2.0), "b": Measured(0.0)}])["a"].runs
    2
    """
    if len(runs) == 1:
        return dict(runs[0])
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    return {name: _mean([run[name].value for run in runs]) for name in shared}


def less(first: Measured, second: Measured) -> Measured:
    """first - second, of one run, by square-and-add [2]; wider than need be where the two vary together."""
    value = first.value - second.value
    if None in (first.low, first.high, second.low, second.high):
        return Measured(value)
    below = math.hypot(first.value - first.low, second.high - second.value)  # type: ignore[operator]
    above = math.hypot(first.high - first.value, second.value - second.low)  # type: ignore[operator]
    return Measured(value, value - below, value + above)


def _mean(values: Sequence[float]) -> Measured:
    mean, half = student(values, CONFIDENCE)
    return Measured(mean, mean - half, mean + half, len(values))


def _exact(value: Any) -> Measured | None:
    return None if value is None else Measured(float(value), float(value), float(value))


def _share(value: Any, n: Any) -> Measured | None:
    """A share of n rows with Clopper and Pearson's interval [1]."""
    if value is None:
        return None
    if not n:
        return Measured(float(value))
    return Measured(float(value), *clopper_pearson(round(value * n), int(n), CONFIDENCE))


def _known(found: Mapping[str, Measured | None]) -> Measurements:
    return {name: value for name, value in found.items() if value is not None}


def _data(run: RunData) -> Measurements:
    first, gate, traces = next(iter(run.iterations()), {}), run.last("quality_gate"), run.last("traces")
    found = {
        "originals": _exact(first.get("n_original")),
        "added": _exact(run.bias.get("n_added")),
        "kl_before": _exact(run.bias.get("kl_before")),
        "kl_after": _exact(run.bias.get("kl_after")),
        "cas_ratio": None if gate.get("cas_ratio") is None else Measured(gate["cas_ratio"]),
        "generator_auc": Measured(traces["auc"], traces["ci_low"], traces["ci_high"]) if traces else None,
        "test_accuracy@before": _share(run.last("baseline").get("test_accuracy"), _test_rows(run)),
    }
    for name, entry in run.bias.get("attributes", {}).items():
        for value, count in zip(entry["values"], entry.get("counts_before") or (), strict=False):
            found[f"count/{name}={value}"] = _exact(count)
    return _known(found)


def _iterations(run: RunData) -> Measurements:
    found: dict[str, Measured | None] = {}
    rows = run.iterations()
    for row in rows:
        seconds = row.get("unlearn_seconds" if row["iteration"] else "train_seconds")
        values = {
            "retain_accuracy": _share(row.get("retain_accuracy"), row.get("n_original", 0) + row.get("n_synthetic", 0)),
            "test_accuracy": _share(row.get("test_accuracy"), _test_rows(run)),
            "step_seconds": None if seconds is None else Measured(float(seconds)),
            "originals": _exact(row.get("n_original")),
            "kl": _exact(row.get("bias_kl")),
        }
        for at in (row["iteration"], *(("last",) if row is rows[-1] else ())):
            found |= {f"{name}@{at}": value for name, value in values.items()}
    return _known(found)


def _test_rows(run: RunData) -> int | None:
    return run.manifest.get("pools", {}).get("test")


def _attacks(run: RunData) -> Measurements:
    """Success on all originals by the honest protocol, and by how much one attack leads another."""
    rows = [row for row in main_audit(run) if row.get("population") == "all_originals"]
    found: Measurements = {}
    iterations = sorted({row["iteration"] for row in rows})
    for t in iterations:
        at = {row["attack"]: _rate(row) for row in rows if row["iteration"] == t}
        best = strongest(rows, t)
        values = {f"success/{attack}": value for attack, value in at.items()}
        values |= {"success/strongest": _rate(best)} if best else {}
        values |= {f"lead/{a}-{b}": less(at[a], at[b]) for a in at for b in at if a != b}
        for label in (t, *(("last",) if t == iterations[-1] else ())):
            found |= {f"{name}@{label}": value for name, value in values.items()}
    return found


def _rate(row: Row) -> Measured:
    return Measured(row["success_rate"], row.get("ci_low"), row.get("ci_high"))


def _groups(run: RunData) -> Measurements:
    """Accuracy by class and group before and after Algorithm 1 and at the last step, and the worst group's."""
    rows = [r for r in run.fairness if r.get("metric") == "accuracy" and r.get("value") is not None]
    rows = [r for r in rows if not r["attribute"].startswith("label x ")]
    last = max((r["iteration"] for r in rows if r.get("stage") == "iteration"), default=None)
    found: Measurements = {}
    for attribute in dict.fromkeys(r["attribute"] for r in rows):
        stages = {}
        for stage, (kind, t) in {"before": ("before", 0), "after": ("after", 0), "last": ("iteration", last)}.items():
            mine = [r for r in rows if (r["attribute"], r.get("stage"), r["iteration"]) == (attribute, kind, t)]
            groups = {r["group"]: Measured(r["value"], r.get("ci_low"), r.get("ci_high")) for r in mine}
            if not groups:
                continue
            stages[stage] = groups | {"": min(groups.values(), key=lambda one: one.value)}
            found |= {f"accuracy/{attribute}={group}@{stage}": value for group, value in groups.items()}
            found[f"worst/{attribute}@{stage}"] = stages[stage][""]
        if {"before", "after"} <= stages.keys():
            for group in [group for group in stages["before"] if group in stages["after"]]:
                name = f"gain/{attribute}={group}" if group else f"gain/worst {attribute}"
                found[name] = less(stages["after"][group], stages["before"][group])
    return found
