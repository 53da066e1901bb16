"""The page of `tfpdu compare`: each published number beside ours, with verdict, interval and reason."""

from pathlib import Path

from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting.comparison import RULE, Comparison, interval_text, ours_text, published_text
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.paper import CONTRADICTIONS


def write_comparison_page(path: Path, comparison: Comparison) -> None:
    """Writes the page, which needs no other file; the same runs give the same bytes."""
    rows = [(line, published_text(line), ours_text(line), interval_text(line)) for line in comparison.lines]
    page = environment().get_template("comparison.html")
    text = page.render(
        runs=comparison.runs,
        tally=comparison.tally,
        rows=rows,
        rule=RULE,
        contradictions=CONTRADICTIONS,
        css=Markup(stylesheet()),
        version=tfpdu.__version__,
    )
    write_text(path, text)
