"""The folder that `tfpdu init` writes, whole or not at all, and what it says of it."""

import csv
import dataclasses
import io
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfpdu.common import files
from tfpdu.data.image_folder import ID
from tfpdu.data.shelf import Shelf
from tfpdu.material import cut
from tfpdu.own_data.choices import Choices, choose
from tfpdu.own_data.config_file import config_text
from tfpdu.own_data.inspection import OUT, Findings, inspect_pictures
from tfpdu.own_data.request import Request, check_home
from tfpdu.settings import Settings

IN_MEMORY_GB = 4.0


@dataclasses.dataclass(frozen=True, eq=False)
class Project:
    """What was written.

    Attributes:
      home: the folder.
      findings: in the data.
      choices: in the config.
    """

    home: Path
    findings: Findings
    choices: Choices

    @property
    def config(self) -> Path:
        """The config file."""
        return self.home / "config.py"

    def as_lines(self) -> list[str]:
        """What was found and chosen, and what to run next, for a terminal."""
        return _summary(self)


def make_project(home: str | os.PathLike[str], request: Request) -> Project:
    """Inspects the data and writes config.py, table.csv, problems.csv, duplicates.csv and cells.csv.

    Args:
      home: the folder to make; it may be there if it is empty.
      request: what to learn from what.

    Raises:
      UserError: the folder holds something, or the data are at fault; nothing is written.
      StopRequested: a signal arrived; nothing is written.
    """
    home = Path(home)
    check_home(home)
    with tempfile.TemporaryDirectory(prefix="tfpdu-") as cache:
        findings = inspect_pictures(request, Shelf(Path(cache), IN_MEMORY_GB))
        choices = choose(findings)
        text = config_text(request, findings, choices, home)
        cut(findings.records, Settings.from_config(_loaded(text)))  # it has to hold, before anything is written
    project = Project(home, findings, choices)
    parent = home.absolute().parent
    draft = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=parent))
    try:
        files.write_text(draft / "config.py", text)
        for name, header, rows in _tables(findings, choices):
            files.write_text(draft / name, _csv(header, rows))
        draft.chmod(0o777 & ~files.umask())
        os.replace(draft, home)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return project


def _loaded(text: str) -> dict:
    """The config that the text makes."""
    scope: dict = {}
    exec(compile(text, "config.py", "exec"), scope)
    return scope["get_config"]().to_dict()


# ---- tables ------------------------------------------------------------------------------------


def _tables(findings: Findings, choices: Choices) -> list[tuple[str, Sequence[str], Iterable[Sequence]]]:
    columns = findings.columns
    used = ["file", *columns.names, *([columns.subject] if columns.subject else [])]
    problems = [(p.file, p.row or "", p.reason, p.outcome) for p in findings.problems]
    twins = [
        (
            t.id.removeprefix(ID),
            t.twin.removeprefix(ID),
            "same" if t.exact else "near",
            f"{t.distance:.4f}",
            _yes(t.mirrored),
        )
        for t in findings.twins
    ]
    return [
        ("table.csv", used, ([fields[name].strip() for name in used] for fields in findings.sheet.rows)),
        ("problems.csv", ["file", "row", "reason", "outcome"], problems),
        ("duplicates.csv", ["file", "other", "kind", "distance", "mirrored"], twins),
        ("cells.csv", [*columns.names, "rows", "in_S"], ([*cell, *counts] for cell, counts in choices.cells.items())),
    ]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _csv(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


# ---- what is said ------------------------------------------------------------------------------


def _summary(project: Project) -> list[str]:
    findings, choices, home = project.findings, project.choices, project.home
    records = findings.records
    lines = [f"{findings.rows} rows in the table, {len(records)} usable, at {findings.side} x {findings.side} pixels"]
    out = sum(problem.outcome == OUT for problem in findings.problems)
    if findings.problems:
        lines += [
            "",
            f"problems: {out} left out, {len(findings.problems) - out} noted and kept; see {home}/problems.csv",
        ]
        lines += [f"  {count:5}  {reason}" for reason, count in _reasons(findings)]
    lines += ["", *_cell_lines(findings, choices), ""]
    lines += [f"too few for a generator: {choices.reason}; augment.method = {choices.method}"] * (
        choices.method != "diffusion"
    )
    if choices.rare:
        lines.append(f"too rare to balance, they keep their share: {', '.join(choices.rare)}")
    config = f"--config={project.config}"
    lines += [
        f"written: {home}/config.py, table.csv, problems.csv, duplicates.csv, cells.csv",
        "",
        "next:",
        f"  tfpdu bias {config} --workdir={home}/bias    # how far the groups are from the prior",
        f"  tfpdu run {config} --dry_run    # minutes and memory on this machine",
        f"  tfpdu run {config} --workdir={home}/run    # ends with {home}/run/report.html",
    ]
    return lines


def _reasons(findings: Findings) -> list[tuple[str, int]]:
    """Problems by kind: what differs from row to row is left out."""
    kinds = Counter(_kind(problem.reason) for problem in findings.problems)
    return kinds.most_common()


def _kind(reason: str) -> str:
    for words in ("the same picture", "nearly the same picture", "listed already", "damaged picture"):
        if reason.startswith(words):
            return words
    if " is read as " in reason:
        return "another spelling of a value"
    return reason


def _cell_lines(findings: Findings, choices: Choices) -> list[str]:
    names = findings.columns.names
    rows = [[*names, "rows", "in S"], *([*cell, *map(str, counts)] for cell, counts in choices.cells.items())]
    widths = [max(len(row[k]) for row in rows) for k in range(len(names) + 2)]
    lines = [
        "  ".join(
            text.rjust(w) if k >= len(names) else text.ljust(w)
            for k, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    counted = sum(total for total, _ in choices.cells.values())
    left = len(findings.records) - counted
    return [*lines, *([f"{left} rows with an unknown value are in no cell"] if left else [])]
