"""Group fairness for a page or a terminal: each attribute's measures at each stage, and its groups at the last one."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tfpdu.reporting import figures
from tfpdu.reporting.figures import Stage
from tfpdu.reporting.formatting import aligned, count, decimal, percent

Row = Mapping[str, Any]

# measure -> its words, and whether it is a gap (0 is equal) or a share (1 is best)
MEASURES = {
    "demographic_parity": ("demographic parity", "gap"),
    "equal_opportunity": ("equal opportunity", "gap"),
    "equalized_odds": ("equalized odds", "gap"),
    "demographic_parity_ratio": ("demographic parity ratio", "share"),
    "worst_group_accuracy": ("worst-group accuracy", "share"),
    "adjusted_accuracy": ("adjusted accuracy", "share"),
    "average_accuracy": ("average accuracy", "share"),
}
RATES = {
    "accuracy": "accuracy",
    "selection_rate": "selection rate",
    "tpr": "TPR",
    "fpr": "FPR",
    "calibration": "calibration error",
}
LOOKS = (  # stage, words, role, marker, glyph
    ("before", "before debiasing", "orange", "o", "○"),
    ("after", "after debiasing", "blue", "o", "●"),
    ("iteration", "after step {}", "green", "D", "◆"),
)


@dataclasses.dataclass(frozen=True)
class Section:
    """One attribute: its measures by stage, its groups' rates, their charts, and how many rows have no value.

    Attributes:
      attribute: the name.
      stages: the moments, in order of time; `values` are {measure: row}.
      measures: rows of a table: words, kind ("gap" or "share") and a row of fairness.json (or None) for each stage.
      rates: heads of the table of groups.
      groups: name, rows n, positives, and one row of fairness.json (or None) for each rate, at the last stage.
      chart: the differences of all stages as an `<svg>`.
      unknown: the row that counts the unknown, or None.
      two_classes: whether positives are counted apart.
      two_classes: whether positives are counted apart.
    """

    attribute: str
    stages: list[Stage]
    measures: list[tuple[str, str, list[Row | None]]]
    rates: list[str]
    groups: list[tuple[str, int, int, list[Row | None]]]
    chart: Markup
    unknown: Row | None
    two_classes: bool


def stages_of(rows: Sequence[Row], key: str = "group") -> list[Stage]:
    """The moments that the rows are of, each with {row[key]: row}: before, after and the last iteration."""
    last = max((row["iteration"] for row in rows if row["stage"] == "iteration"), default=0)
    stages = []
    for stage, words, role, marker, glyph in LOOKS:
        at_last = {r[key]: r for r in rows if r["stage"] == stage and (stage != "iteration" or r["iteration"] == last)}
        if at_last and not (stage == "iteration" and last == 0):  # step 0 is the stage after debiasing
            stages.append(Stage(words.format(last), role, marker, glyph, at_last))
    return stages


def sections(rows: Sequence[Row], only: Stage | None = None) -> list[Section]:
    """One section for each attribute that has measures over its groups, in the order of the rows.

    Args:
      rows: of fairness.json; rows without such measures (accuracy alone) give no section.
      only: the looks of a single moment, for rows that have no stage; its values are not used.
    """
    names = dict.fromkeys(row["attribute"] for row in rows if row["metric"] == "equalized_odds")
    return [_section(name, index, rows, only) for index, name in enumerate(names)]


def _section(attribute: str, index: int, rows: Sequence[Row], only: Stage | None) -> Section:
    own = [row for row in rows if row["attribute"] == attribute]
    over = [row for row in own if row["metric"] not in RATES]
    mine = [row for row in own if row["metric"] in RATES]
    if only is None:
        stages = stages_of(over, "metric")
        last = next(iter(stages[-1].values.values())) if stages else {}
        mine = [row for row in mine if (row["stage"], row["iteration"]) == (last.get("stage"), last.get("iteration"))]
    else:
        stages = [dataclasses.replace(only, values={row["metric"]: row for row in over})]
    measures = [
        (words, kind, [_measured(stage.values.get(name)) for stage in stages])
        for name, (words, kind) in _with_means(over).items()
    ]
    gaps = {name: words for name, (words, kind) in MEASURES.items() if kind == "gap"}
    return Section(
        attribute=attribute,
        stages=stages,
        measures=measures,
        rates=[words for name, words in RATES.items() if any(row["metric"] == name for row in mine)],
        groups=_groups(mine),
        chart=Markup(figures.gap_chart(f"fairness-{index}", attribute, gaps, stages)),
        unknown=next((stage.values["unknown"] for stage in stages[-1:] if "unknown" in stage.values), None),
        two_classes=any(row["n_neg"] for row in mine),
    )


def _with_means(over: Sequence[Row]) -> dict[str, tuple[str, str]]:
    """The measures that the rows have; with several classes each gap is of the worst class, and has a mean."""
    present = {row["metric"] for row in over}
    found = {}
    for name, (words, kind) in MEASURES.items():
        several = f"{name}_mean" in present
        if name in present:
            found[name] = (f"{words}, worst class" if several else words, kind)
        if several:
            found[f"{name}_mean"] = ("… mean of classes", kind)
    return found


def _groups(rows: Sequence[Row]) -> list[tuple[str, int, int, list[Row | None]]]:
    names = [name for name in RATES if any(row["metric"] == name for row in rows)]
    by_group: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_group.setdefault(row["group"], {})[row["metric"]] = row
    return [
        (group, found["accuracy"]["n"], found["accuracy"]["n_pos"], [_measured(found.get(name)) for name in names])
        for group, found in by_group.items()
        if "accuracy" in found
    ]


def _measured(row: Row | None) -> Row | None:
    value = None if row is None else row.get("value")
    return row if value is not None and math.isfinite(value) else None


def as_lines(rows: Sequence[Row], classes: Sequence[str]) -> list[str]:
    """Plain text for a terminal: of each attribute its measures, then its groups, with intervals.

    Args:
      rows: of `tfpdu.audit.fairness.measures`.
      classes: the names of the classes; of two, the second one is the positive.
    """
    lines = [f"positive class: {classes[1]}" if len(classes) == 2 else f"{len(classes)} classes, each versus the rest"]
    for section in sections(rows, Stage("value", "blue", "o", "", {})):
        unknown = section.unknown["n"] if section.unknown else 0
        lines += ["", section.attribute + (f" ({count(unknown)} rows of unknown value left out)" if unknown else "")]
        lines += aligned([(words, *(_text(row, kind) for row in found)) for words, kind, found in section.measures])
        heads = ("group", "rows", *(["positives"] if section.two_classes else []), *section.rates)
        table = [
            (group, count(n), *([count(n_pos)] if section.two_classes else []), *(_text(row, "share") for row in found))
            for group, n, n_pos, found in section.groups
        ]
        lines += aligned([heads, *table])
    return lines


def _text(row: Row | None, kind: str) -> str:
    if row is None:
        return "not estimable"
    show = percent if kind == "share" else lambda value: decimal(100 * value, 1)
    return f"{show(row['value'])} ({show(row['ci_low'])} to {show(row['ci_high'])})"
