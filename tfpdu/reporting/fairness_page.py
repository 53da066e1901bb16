"""The page of `tfpdu fairness`: group fairness of predictions that came from outside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting.fairness import sections
from tfpdu.reporting.figures import Stage
from tfpdu.reporting.html import environment, stylesheet

_NOW = Stage("value", "blue", "o", "●", {})


def write_fairness_page(
    path: Path, name: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str], notes: Sequence[str] = ()
) -> None:
    """Writes the page, which needs no other file; the same rows give the same bytes.

    Args:
      path: where to.
      name: of the file that the predictions are from.
      rows: of `tfpdu.audit.fairness.measures`.
      classes: the names of the classes; of two, the second one is the positive.
      notes: what to say before the numbers.
    """
    page = environment().get_template("fairness.html")
    text = page.render(
        name=name,
        sections=sections(rows, _NOW),
        rows=sum(row["n"] for row in rows if row["attribute"] == "label"),
        classes=classes,
        notes=notes,
        css=Markup(stylesheet()),
        version=tfpdu.__version__,
    )
    write_text(path, text)
