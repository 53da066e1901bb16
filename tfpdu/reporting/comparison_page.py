"""The page of `tfpdu compare`: published courses and numbers beside ours, and why the rest cannot be compared."""

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting.comparison import (
    NOT_COMPARABLE,
    RULE,
    Comparison,
    Line,
    interval_text,
    ours_text,
    published_text,
)
from tfpdu.reporting.figures import published_chart
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.paper import CONTRADICTIONS, VALUE


def write_comparison_page(path: Path, comparison: Comparison) -> None:
    """Writes the page, which needs no other file; the same runs give the same bytes."""
    told = [line for line in comparison.lines if line.verdict != NOT_COMPARABLE]
    rest = [line for line in comparison.lines if line.verdict == NOT_COMPARABLE]
    page = environment().get_template("comparison.html")
    text = page.render(
        runs=comparison.runs,
        tally=comparison.tally,
        charts=[(title, Markup(svg)) for title, svg in _charts(told)],
        rows=[(line, published_text(line), ours_text(line), interval_text(line)) for line in told],
        notes=_together(told, lambda line: line.published.note),
        reasons=_together(rest, lambda line: line.reason),
        rule=RULE,
        contradictions=CONTRADICTIONS,
        css=Markup(stylesheet()),
        version=tfpdu.__version__,
    )
    write_text(path, text)


def _charts(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """(title, SVG) of each quantity that is published for two iterations or more."""
    courses: dict[str, list[Line]] = {}
    for line in lines:
        measure, _, at = line.published.measure.partition("@")
        if at.isdigit() and line.published.kind == VALUE:
            courses.setdefault(measure, []).append(line)
    found = []
    for measure, course in courses.items():
        if len(course) < 2:
            continue
        title = course[0].published.name.partition(",")[0]
        found.append((title, published_chart(f"course-{measure}", title, [_point(line) for line in course])))
    return found


def _point(line: Line) -> dict[str, object]:
    published, ours = line.published, line.measured
    values = {"measured": ours.value, "low": ours.low, "high": ours.high} if ours else {}
    at = int(published.measure.partition("@")[2])
    return {"iteration": at, "unit": published.unit, "published": published.value, **values}


def _together(lines: Sequence[Line], words: Callable[[Line], str]) -> list[tuple[str, list[str]]]:
    """(words, names of the rows that they are said of); rows of a course by the name of the course."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if said := words(line):
            names, name = found.setdefault(said, []), line.published.name.partition(", iteration")[0]
            if name not in names:
                names.append(name)
    return list(found.items())
