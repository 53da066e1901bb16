"""The page of a study of group fairness: verdicts, a dot plot and a column a measure, paired differences, groups."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting.figures import MAX_CELLS
from tfpdu.reporting.formatting import MISSING
from tfpdu.reporting.group_study import GROUP, MEASURES, MEMBERSHIP, Difference, Found, Results, Verdict, cell
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.style import chart, color, themed_svg


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What there is to tell of a study.

    Attributes:
      title: the question.
      lead: what was done, in a sentence or two.
      facts: (what, value) pairs for the head.
      results: the cells that are done.
      cells: how many there are in all.
      names: of arms, for people.
      reference: the arm that a line in the charts stands for.
      marked: the arm that stands out in the charts, or "".
      verdicts: what the numbers say.
      differences: that the study asks about.
      meanings: (name, words) of the arms.
      notes: what a reader has to know to read the numbers.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    results: Results
    cells: int
    names: Mapping[str, str]
    reference: str
    marked: str
    verdicts: Sequence[Verdict]
    differences: Sequence[Difference]
    meanings: Sequence[tuple[str, str]]
    notes: Sequence[str]


def write_study_page(path: Path, report: StudyReport) -> None:
    """Writes the page, which needs no other file; the same lines give the same bytes."""
    results = report.results
    arms = [arm for arm in results.arms if results.measured(arm)]
    text = (
        environment()
        .get_template("group_study.html")
        .render(
            report=report,
            heads=[MEASURES[key][0] for key in results.measures],
            rows=[_row(report, arm) for arm in results.arms],
            charts=[_panel(f"measure-{i}", report, arms, key) for i, key in enumerate(results.measures)],
            unknown=[words for key, (words, _) in MEASURES.items() if key not in results.measures],
            group_charts=[
                _panel(f"group-{i}", report, arms, GROUP + name) for i, name in enumerate(results.groups[:MAX_CELLS])
            ],
            attacks=[
                _panel(f"attack-{i}", report, arms, MEMBERSHIP + name)
                for i, name in enumerate(results.groups[:MAX_CELLS])
            ],
            differences=_tables(report),
            warnings=_warnings(results),
            css=Markup(stylesheet()),
            version=tfpdu.__version__,
        )
    )
    write_text(path, text)


def dots_chart(
    name: str, words: str, unit: str, rows: Sequence[tuple[str, Found]], reference: float | None, marked: str
) -> str:
    """A row an arm: its mean with Student's interval, and each seed as a small dot.

    Args:
      name: unique in the page.
      words: what is drawn, for who cannot see it.
      unit: of the axis.
      rows: name and values in points of each arm, in the order to show.
      reference: where a line stands; None = nowhere.
      marked: the name of the arm that stands out.
    """
    with chart(height=0.85 + 0.3 * len(rows)) as (figure, axes):
        if reference is not None:
            axes.axvline(reference, color=color("ink"), linewidth=1.1)
        for at, (arm, found) in enumerate(rows):
            role, marker = ("orange", "s") if arm == marked else ("blue", "o")
            axes.plot(found.values, [at] * len(found.values), "o", color=color("muted"), ms=2.6, alpha=0.75)
            if found.low is not None and found.high is not None:
                axes.hlines(at, found.low, found.high, color=color(role), linewidth=1.8, alpha=0.55)
            axes.plot([found.mean], [at], marker, color=color(role), ms=5.5)
        # An interval of two seeds may be as wide as anything; the means still have to be told apart.
        values = [value for _, found in rows for value in found.values]
        margin = max(2.0, float(np.ptp(values)) * 0.6)
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, min(values) - margin), min(high, max(values) + margin))
        axes.set_yticks(np.arange(len(rows)), [arm for arm, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(False, axis="y")
        axes.set_xlabel(unit)
        told = "; ".join(f"{arm} {found.show()}" for arm, found in rows)
        return themed_svg(figure, name, f"{words}, {unit}. {told}")


def _panel(name: str, report: StudyReport, arms: Sequence[str], measure: str) -> dict[str, Any]:
    results = report.results
    pairs = [(report.names.get(arm, arm), found) for arm in arms if (found := results.found(arm, measure))]
    base = results.found(report.reference, measure)
    better = {1: "more is better", -1: "less is better; 0 is equal"}
    if measure.startswith(GROUP):
        title, words, side = measure.removeprefix(GROUP), "accuracy", 1
    elif measure.startswith(MEMBERSHIP):
        title, words, side = measure.removeprefix(MEMBERSHIP), "AUC of the membership attack", 1
        better[1] = "50 is guessing: the nearer, the less the model tells of who was learned"
    else:
        title, side = MEASURES[measure]
        words = title
    marked = report.names.get(report.marked, report.marked)
    svg = (
        Markup(dots_chart(name, words, "%" if side > 0 else "points", pairs, base.mean if base else None, marked))
        if pairs
        else Markup("")
    )
    return {"title": title, "better": better[side], "svg": svg}


def _warnings(results: Results) -> list[str]:
    """What tfpdu warns of before the deletions of the first seed."""
    lines = [line for line in results.lines if line["seed"] == results.seeds[0]]
    return list(dict.fromkeys(text for line in lines for text in line.get("warnings", ())))


def _row(report: StudyReport, arm: str) -> dict[str, Any]:
    results = report.results
    return {
        "name": report.names.get(arm, arm),
        "skipped": "" if results.measured(arm) else results.skipped().get(arm, ""),
        "cells": [cell(results.found(arm, key)) for key in results.measures],
        "seeds": len(results.of(arm)),
    }


def _tables(report: StudyReport) -> list[dict[str, Any]]:
    """A table a measure: a row an arm, a column a kind of arm that it is compared with."""
    tables = []
    for measure in dict.fromkeys(d.measure for d in report.differences):
        mine = [d for d in report.differences if d.measure == measure]
        heads = list(dict.fromkeys(d.column for d in mine))
        found = {(d.arm, d.column): d.found for d in mine}
        rows = [
            (report.names.get(arm, arm), [_shown(found.get((arm, head))) for head in heads])
            for arm in report.results.arms
            if any(d.arm == arm for d in mine)
        ]
        words = "accuracy of the group that the request hits" if measure == GROUP else MEASURES[measure][0]
        tables.append({"words": words, "heads": heads, "rows": rows})
    return tables


def _shown(found: Found | None) -> tuple[str, bool]:
    """A difference as a table shows it, and whether its interval leaves out 0."""
    return (MISSING, False) if found is None else (found.show_difference(), bool(found.side()))
