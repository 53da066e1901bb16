"""Runs and the paper side by side: a verdict on each published number, by interval alone (`RULE`), and the reason."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpdu.common import UserError
from tfpdu.ensemble.settings import PLACEMENT
from tfpdu.reporting.formatting import aligned, count, duration, percent
from tfpdu.reporting.measurements import Measured, measurements, over_seeds
from tfpdu.reporting.paper import AT_LEAST, ORDER, SEEN, VALUE, Published, Setting, main_paper
from tfpdu.reporting.run_data import RunData, read_run

REPRODUCED, BETTER, WORSE, NOT_COMPARABLE = "reproduced", "better", "worse", "not comparable"
VERDICTS = (REPRODUCED, BETTER, WORSE, NOT_COMPARABLE)
RULE = (
    "The paper's numbers have no interval. Ours have one of 95 %: Student's t over seeds where there are two runs or "
    "more, else binomial within the run; a time of a single run has none.",
    "Reproduced: the published number lies in our interval; for a statement such as “A above B” or “above 60 %”, the "
    "whole interval agrees with it.",
    "Better or worse: the published number lies outside, and the direction says which; where neither direction is "
    "better, outside is worse. For a statement: the whole interval contradicts it.",
    "Not comparable: the run is of another setting, has not come so far, or has no such number; or a statement can be "
    "neither confirmed nor denied, since the interval is too wide.",
    "Nothing else enters: no tolerance, no threshold. A wide interval reproduces easily, so it is always shown.",
)


@dataclasses.dataclass(frozen=True)
class Line:
    """A published number beside ours; `measured` is None where there is none."""

    published: Published
    measured: Measured | None
    verdict: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: shares in [0, 1], times in seconds."""
        row, measured = self.published, self.measured
        return {
            "name": row.name,
            "source": row.source,
            "place": row.place,
            "kind": row.kind,
            "unit": row.unit,
            "published": row.value,
            "measure": row.measure,
            "measured": measured and measured.value,
            "ci_low": measured and measured.low,
            "ci_high": measured and measured.high,
            "interval": measured and measured.interval,
            "verdict": self.verdict,
            "reason": self.reason,
            "note": row.note,
        }


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs of one configuration and several seeds beside the paper."""

    runs: tuple[RunData, ...]
    lines: tuple[Line, ...]

    @property
    def tally(self) -> dict[str, int]:
        """How often each verdict was given."""
        found = Counter(line.verdict for line in self.lines)
        return {verdict: found[verdict] for verdict in VERDICTS}

    def as_json(self) -> dict[str, Any]:
        """The content of the JSON file."""
        names = ("data.name", "draw.rows", "ensemble.shards", "ensemble.initial", "generator.lineage", "augment.method")
        return {
            "runs": [{"workdir": run.workdir.name, "seed": run.setting("seed")} for run in self.runs],
            "config": {name: self.runs[0].setting(name) for name in names},
            "verdicts": self.tally,
            "rule": list(RULE),
            "rows": [line.as_json() for line in self.lines],
        }

    def as_text(self) -> list[str]:
        """Lines for a terminal: the table of what could be compared, then why the rest could not."""
        told = [line for line in self.lines if line.verdict != NOT_COMPARABLE]
        head = ("published", "paper", "ours", "95 % interval", "verdict")
        table = [
            (line.published.name, published_text(line), ours_text(line), interval_text(line), line.verdict)
            for line in told
        ]
        why = Counter(line.reason for line in self.lines if line.verdict == NOT_COMPARABLE)
        seeds = ", ".join(str(run.setting("seed")) for run in self.runs)
        lines = [
            f"{len(self.runs)} run(s), seed {seeds}: " + ", ".join(f"{n} {name}" for name, n in self.tally.items())
        ]
        lines += aligned([head, *table]) if table else []
        return lines + [f"not comparable ({n}): {reason}" for reason, n in why.items()]


def compare(workdirs: Sequence[str | Path], published: Sequence[Published] | None = None) -> Comparison:
    """Puts runs beside published numbers.

    Args:
      workdirs: run directories of one configuration, a seed each; finished, in progress or copied without weights.
      published: by default all of the main paper.

    Raises:
      UserError: a directory is no run, a seed is there twice, or the runs differ in more than the seed.
    """
    runs = tuple(read_run(workdir) for workdir in workdirs)
    _refuse_different(runs)
    ours = over_seeds([measurements(run) for run in runs])
    lines = []
    for row in main_paper() if published is None else published:
        measured = ours.get(row.measure)
        lines.append(Line(row, measured, *_judge(row, measured, runs)))
    return Comparison(runs, tuple(lines))


def judge(row: Published, measured: Measured) -> tuple[str, str]:
    """The verdict on a number that is comparable, and its reason; see `RULE`."""
    if row.kind == SEEN or row.value is None:
        return NOT_COMPARABLE, row.note
    value, low, high = row.value, measured.low, measured.high
    if row.kind in (ORDER, AT_LEAST):
        if low is not None and low > value:
            return REPRODUCED, "the whole interval agrees"
        if high is not None and high < value:
            return (BETTER if row.better == "lower" else WORSE), "the whole interval contradicts it"
        return NOT_COMPARABLE, f"{row.name}: the interval holds {value:g}, so these runs cannot tell"
    known = low is not None and high is not None
    if measured.value == value or (known and low <= value <= high):  # type: ignore[operator]
        return REPRODUCED, "equal" if measured.value == value else "the published number lies in our interval"
    above = measured.value > value
    verdict = BETTER if row.better and above == (row.better == "higher") else WORSE
    words = f"{'above' if above else 'below'} the published number"
    return verdict, words + (", interval and all" if known else "; a single run has no interval")


def _judge(row: Published, measured: Measured | None, runs: Sequence[RunData]) -> tuple[str, str]:
    reasons = dict.fromkeys(_mismatch(row.setting, run) for run in runs)
    if reason := next(filter(None, reasons), ""):
        return NOT_COMPARABLE, reason
    if measured is None:
        return NOT_COMPARABLE, _absent(row, runs)
    return judge(row, measured)


def _absent(row: Published, runs: Sequence[RunData]) -> str:
    name, _, at = row.measure.partition("@")
    done = min(len(run.iterations()) - 1 for run in runs)
    if at.isdigit() and int(at) > done:
        return f"iteration {at} is not done" if done >= 0 else "no iteration is done"
    return f"the run has no {name}"


def _mismatch(setting: Setting, run: RunData) -> str:
    """Why a run of another setting is no counterpart; empty where it is one."""
    found, method = run.setting("data.name"), run.setting("augment.method") or "diffusion"
    if found != setting.data:
        return f"a number of {setting.data}, the run is of {found}"
    if method != "diffusion" or run.setting("augment.replenish") is False:
        what = f"augment.method={method}" if method != "diffusion" else "augment.replenish=False"
        return f"the paper's loop adds and replenishes synthetic rows, the run has {what}"
    steps = run.setting("loop.iterations")
    if setting.steps is not None and steps != setting.steps:
        return f"the paper forgets in {setting.steps} steps, the run in {steps}"
    entry = run.bias.get("attributes", {}).get(setting.over)
    if setting.over and entry is None:
        return f"the run's prior is not over {setting.over}"
    rows = next((row["n_original"] for row in run.iterations()), run.setting("draw.rows"))
    if setting.originals is not None and rows != setting.originals:
        return f"the paper has {setting.originals} originals, the run {rows}"
    counts = dict(zip(entry["values"], entry["counts_before"], strict=True)) if entry else {}
    for value, n in setting.counts:
        if counts.get(value) != n:
            return f"the paper's S has {n} of {setting.over}={value}, the run's {counts.get(value)}: another draw"
    return ""


def _refuse_different(runs: Sequence[RunData]) -> None:
    seeds = Counter(run.setting("seed") for run in runs)
    if twice := [seed for seed, n in seeds.items() if n > 1]:
        raise UserError(f"--workdir: {seeds[twice[0]]} of the runs have seed {twice[0]}; expected a seed each")
    first = flat(runs[0].config)
    for run in runs[1:]:
        other = flat(run.config)
        free = {"seed", *(f"ensemble.{name}" for name in PLACEMENT)}
        for key in sorted((first.keys() | other.keys()) - free):
            if first.get(key) != other.get(key):
                raise UserError(
                    f"--workdir={run.workdir}: made with config.{key}={other.get(key)!r}, {runs[0].workdir} with"
                    f" {first.get(key)!r}; expected runs that differ in the seed alone"
                )


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as {"a.b": leaf}."""
    found: dict[str, Any] = {}
    for key, item in tree.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return found


def courses(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """(measure, title, points) of each quantity that is published for two iterations or more.

    Args:
      rows: of `Line.as_json`.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        measure, _, at = row["measure"].partition("@")
        if at.isdigit() and row["kind"] == VALUE:
            found.setdefault(measure, []).append({**row, "iteration": int(at)})
    return [
        (measure, points[0]["name"].partition(",")[0], points) for measure, points in found.items() if len(points) > 1
    ]


# ---- words -------------------------------------------------------------------------------------------------


def number_text(value: float | None, unit: str, kind: str = "") -> str:
    """A number in the unit of its row; differences in points."""
    if value is None:
        return "–"
    if kind == ORDER:
        return f"{100 * value:+.1f} points"
    return {"share": percent, "seconds": duration}.get(unit, count)(value)


def published_text(line: Line) -> str:
    """The published number as a reader wants it."""
    row = line.published
    if row.kind == ORDER:
        return "above 0"
    text = number_text(row.value, row.unit)
    return f"above {text}" if row.kind == AT_LEAST else text


def ours_text(line: Line) -> str:
    """Our number, without its interval."""
    return number_text(line.measured.value if line.measured else None, line.published.unit, line.published.kind)


def interval_text(line: Line) -> str:
    """Our interval, and how it came about."""
    measured, row = line.measured, line.published
    if measured is None:
        return "–"
    if measured.low is None or measured.low == measured.high:
        return measured.interval
    ends = (number_text(end, row.unit, row.kind) for end in (measured.low, measured.high))
    return f"{' to '.join(ends)} ({measured.interval})"
