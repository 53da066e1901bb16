"""Table I of a run: retain and test accuracy, times and forget fraction of each iteration."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tfpdu.common.files import write_text
from tfpdu.reporting.formatting import count, duration, percent
from tfpdu.reporting.run_data import latest_iterations

TABLE1_COLUMNS = (
    "iteration",
    "retain_accuracy",
    "test_accuracy",
    "train_seconds",
    "unlearn_seconds",
    "forget_fraction",
)


def table1_rows(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of Table I: accuracies and fractions in [0, 1], times in seconds, None where not measured.

    Args:
      events: events of metrics.jsonl; those that are no `iteration` are passed over, and of several for the same
        iteration (a resumed run) the last one counts.
    """
    return [{name: row.get(name) for name in TABLE1_COLUMNS} for row in latest_iterations([dict(e) for e in events])]


def write_table1(workdir: str | Path, events: Sequence[Mapping[str, Any]]) -> Path:
    """Writes `table1.csv` atomically, one line an iteration, full precision, empty where not measured.

    Args:
      workdir: the run directory.
      events: as for `table1_rows`.

    Returns:
      The file's path.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, TABLE1_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table1_rows(events):
        writer.writerow({name: "" if value is None else value for name, value in row.items()})
    path = Path(workdir) / "table1.csv"
    write_text(path, text.getvalue())
    return path


def console_table(events: Sequence[Mapping[str, Any]]) -> str:
    """Table I as plain text for a terminal, one line an iteration, at most 80 columns."""
    heads = ("it", "forgotten", "originals", "synthetic", "retain", "test", "train", "unlearn")
    lines = [heads]
    for row in latest_iterations([dict(e) for e in events]):
        lines.append(
            (
                str(row["iteration"]),
                percent(row.get("forget_fraction"), 0),
                count(row.get("n_original")),
                count(row.get("n_synthetic")),
                percent(row.get("retain_accuracy")),
                percent(row.get("test_accuracy")),
                duration(row.get("train_seconds")),
                duration(row.get("unlearn_seconds")),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def print_table(events: Sequence[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Prints `console_table` to `file`, or to standard output."""
    print(console_table(events), file=file or sys.stdout)
