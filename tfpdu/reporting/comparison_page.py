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
    courses,
    interval_text,
    ours_text,
    published_text,
)
from tfpdu.reporting.figures import published_chart
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.paper import CONTRADICTIONS


def write_comparison_page(path: Path, comparison: Comparison) -> None:
    """Writes the page, which needs no other file; the same runs give the same bytes."""
    told = [line for line in comparison.lines if line.verdict != NOT_COMPARABLE]
    rest = [line for line in comparison.lines if line.verdict == NOT_COMPARABLE]
    page = environment().get_template("comparison.html")
    text = page.render(
        runs=comparison.runs,
        tally=comparison.tally,
        charts=[
            (title, Markup(published_chart(f"course-{measure}", title, points)))
            for measure, title, points in courses([line.as_json() for line in told])
        ],
        rows=[(line, published_text(line), ours_text(line), interval_text(line)) for line in told],
        notes=_together(told, lambda line: line.published.note),
        reasons=_together(rest, lambda line: line.reason),
        rule=RULE,
        contradictions=CONTRADICTIONS,
        css=Markup(stylesheet()),
        version=tfpdu.__version__,
    )
    write_text(path, text)


def _together(lines: Sequence[Line], words: Callable[[Line], str]) -> list[tuple[str, list[str]]]:
    """(words, names of the rows that they are said of); rows of a course by the name of the course."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if said := words(line):
            names, name = found.setdefault(said, []), line.published.name.partition(", iteration")[0]
            if name not in names:
                names.append(name)
    return list(found.items())
