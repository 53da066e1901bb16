"""What is wrong with a folder of pictures and its table: every fault by file, row and reason, and every duplicate."""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from tfpdu.common.errors import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress, say
from tfpdu.data.attributes import is_missing
from tfpdu.data.image_folder import ID, Table, as_records, file_of, path_of, read_pictures
from tfpdu.data.records import Records
from tfpdu.data.shelf import Shelf
from tfpdu.own_data.request import Columns, Request, open_table, picture_files
from tfpdu.unlearning.twins import Twin, near_duplicates

SIDES = (16, 32, 64)  # of the pictures that are learned
TOGETHER = "kept_together"  # column of the rows that are near copies of one another, where no person is known
OUT, KEPT = "left out", "kept"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A fault of a picture or a row.

    Attributes:
      file: the picture, as the table or the folder names it.
      row: line of the table; 0 = a picture without one.
      reason: what is wrong.
      outcome: "left out", or "kept" and how.
    """

    file: str
    row: int
    reason: str
    outcome: str


@dataclasses.dataclass(frozen=True, eq=False)
class Findings:
    """What can be used, and what was found on the way.

    Attributes:
      sheet: the usable rows of the table, with one spelling a value.
      columns: what is asked of it; `subject` may be the column `kept_together`, which is then in `sheet`.
      records: the same rows with their pictures.
      problems: in the order of rows, then the pictures without one.
      twins: pairs of pictures that are the same or nearly so; of the same ones only the first is used.
      side: pixels a side.
      rows: in the whole table.
    """

    sheet: Table
    columns: Columns
    records: Records
    problems: tuple[Problem, ...]
    twins: tuple[Twin, ...]
    side: int
    rows: int


def inspect_pictures(request: Request, shelf: Shelf | None = None) -> Findings:
    """Reads the table and every picture. Writes nothing.

    Raises:
      UserError: nothing to learn from: no pictures, no usable row, or one class; one line says why.
      StopRequested: a signal arrived.
    """
    sheet, columns = open_table(request)
    sheet, respelt = _one_spelling(sheet, columns)
    side = _side(request.images, sheet)
    wanted = (columns.label, *columns.sensitive)
    pictures, faults = read_pictures(sheet, request.images, wanted, side, shelf or Shelf())
    records = as_records(sheet, pictures, faults, columns.label, columns.sensitive, columns.subject)
    _check_classes(records, columns, sheet)
    say(f"looking for duplicates among {len(records)} pictures")
    twins = near_duplicates(records)
    row_of = {f"{ID}{file_of(fields)}": row for row, fields in reversed(list(enumerate(sheet.rows)))}
    again = _again(twins, row_of, sheet, columns)
    good = [row for row in range(len(sheet.rows)) if row not in faults and row not in again]
    lines = {sheet.lines[row] for row in good}
    problems = [problem for problem in respelt if problem.row in lines]
    problems += [_fault(sheet, row, reason) for row, reason in {**faults, **again}.items()]
    problems += _unknown_values(sheet, columns, good) + _near(twins, row_of, again, sheet, columns)
    problems.sort(key=lambda problem: problem.row)
    problems += [
        Problem(name, 0, "no row in the table", OUT) for name in sorted(picture_files(request.images) - _named(sheet))
    ]
    sheet, columns = _grouped(sheet, columns, good, twins, row_of)
    # Anew, since thirds of fewer rows have other edges, as they will when the usable rows are loaded.
    kept = np.setdiff1d(np.arange(len(records)), records.rows_of([f"{ID}{file_of(sheet.rows[r])}" for r in again]))
    pictures = records.take(kept).images
    chosen = dataclasses.replace(
        sheet, rows=[sheet.rows[r] for r in good], lines=[sheet.lines[r] for r in good], faults={}
    )
    usable = as_records(chosen, pictures, {}, columns.label, columns.sensitive, columns.subject)
    return Findings(chosen, columns, usable, tuple(problems), twins, side, len(sheet.rows))


# ---- the folder --------------------------------------------------------------------------------


def _named(sheet: Table) -> set[str]:
    """Files of the table, as `picture_files` writes them."""
    return {Path(os.path.normpath(file_of(fields))).as_posix() for fields in sheet.rows if file_of(fields)}


def _side(root: Path, sheet: Table) -> int:
    """The largest of `SIDES` that half of the pictures have at least; only their headers are read."""
    names = sorted({file_of(fields) for fields in sheet.rows} - {""})
    with Progress("sizes", len(names), "files") as progress, ThreadPoolExecutor(4) as pool:
        short = []
        for size in pool.map(lambda name: _short_side(path_of(root, name)), names):
            progress.advance()
            safe_point()
            short += [size] if size else []
    middle = float(np.median(short)) if short else max(SIDES)
    return max([side for side in SIDES if side <= middle], default=min(SIDES))


def _short_side(path: Path) -> int:
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except Exception:  # said when the picture itself is read
        return 0


# ---- the table ---------------------------------------------------------------------------------


def _one_spelling(sheet: Table, columns: Columns) -> tuple[Table, list[Problem]]:
    """The table with 'Female', 'female' and 'female ' as one value, the most frequent one, and what was changed."""
    rows, problems = [dict(fields) for fields in sheet.rows], []
    for name in columns.names:
        counts = Counter(fields[name].strip() for fields in rows if not is_missing(fields[name]))
        common: dict[str, str] = {}
        for value, _ in counts.most_common():
            common.setdefault(value.casefold(), value)
        for row, fields in enumerate(rows):
            text = fields[name].strip()
            value = common.get(text.casefold(), text)
            if value != text:
                problems.append(_kept(sheet, row, f"{name}: {text!r} is read as {value!r}"))
            fields[name] = value
    return dataclasses.replace(sheet, rows=rows), problems


def _check_classes(records: Records, columns: Columns, sheet: Table) -> None:
    """Two values at least have to be left among the rows that can be used."""
    for name, column in zip(("label", *columns.names[1:]), columns.names, strict=True):
        found = np.unique(records.column(name))
        if len(found[found >= 0]) < 2:
            raise UserError(
                f"{sheet.path}: column {column!r} has one value in the {len(records)} rows that can be used"
            )


def _unknown_values(sheet: Table, columns: Columns, good: list[int]) -> list[Problem]:
    return [
        _kept(sheet, row, f"{column.name} is unknown", f", in no group of {column.name}")
        for row in good
        for column in columns.sensitive
        if is_missing(sheet.rows[row][column.name])
    ]


def _fault(sheet: Table, row: int, reason: str) -> Problem:
    return Problem(file_of(sheet.rows[row]), sheet.lines[row], reason, OUT)


def _kept(sheet: Table, row: int, reason: str, how: str = "") -> Problem:
    return Problem(file_of(sheet.rows[row]), sheet.lines[row], reason, KEPT + how)


# ---- duplicates --------------------------------------------------------------------------------


def _again(twins: tuple[Twin, ...], row_of: dict[str, int], sheet: Table, columns: Columns) -> dict[int, str]:
    """{row: reason} of pictures that an earlier row has too, pixel by pixel."""
    again: dict[int, str] = {}
    for first, row in sorted(_rows(twin, row_of) for twin in twins if twin.exact):
        if row in again:
            continue
        differs = [name for name in columns.names if sheet.rows[first][name] != sheet.rows[row][name]]
        but = f", but not the same {' and '.join(differs)}" if differs else ""
        again[row] = f"the same picture as {file_of(sheet.rows[first])} in row {sheet.lines[first]}{but}"
    return again


def _near(
    twins: tuple[Twin, ...], row_of: dict[str, int], again: dict[int, str], sheet: Table, columns: Columns
) -> list[Problem]:
    """Near copies stay; a person's pictures are kept together, and so are they where no person is named."""
    problems = []
    for first, row in _near_pairs(twins, row_of, again):
        one, other = sheet.rows[first], sheet.rows[row]
        reason = f"nearly the same picture as {file_of(one)} in row {sheet.lines[first]}"
        how = ", in the same pool"
        if columns.subject:
            persons = {one[columns.subject].strip(), other[columns.subject].strip()}
            reason += f", but not the same {columns.subject}" if len(persons) > 1 else ""
            how = how if len(persons) == 1 and "" not in persons else ", and may be in another pool"
        problems.append(_kept(sheet, row, reason, how))
    return problems


def _near_pairs(twins: tuple[Twin, ...], row_of: dict[str, int], again: dict[int, str]) -> Iterator[tuple[int, int]]:
    """Pairs of rows that are near copies and both in use."""
    for first, row in sorted(_rows(twin, row_of) for twin in twins if not twin.exact):
        if first not in again and row not in again:
            yield first, row


def _rows(twin: Twin, row_of: dict[str, int]) -> tuple[int, int]:
    first, second = sorted((row_of[twin.id], row_of[twin.twin]))
    return first, second


def _grouped(
    sheet: Table, columns: Columns, good: list[int], twins: tuple[Twin, ...], row_of: dict[str, int]
) -> tuple[Table, Columns]:
    """Where no person is named, near copies get a common name, so that no pool has a copy of another's picture."""
    again = dict.fromkeys(set(range(len(sheet.rows))) - set(good), "")
    pairs = list(_near_pairs(twins, row_of, again))
    if columns.subject or not pairs:
        return sheet, columns
    head: dict[int, int] = {}
    for first, row in pairs:  # rising, so the head of a group is its first row
        a, b = head.get(first, first), head.get(row, row)
        head |= {member: min(a, b) for member in [*head, first, row] if head.get(member, member) in (a, b)}
    rows = [
        {**fields, TOGETHER: file_of(sheet.rows[head[row]]) if row in head else ""}
        for row, fields in enumerate(sheet.rows)
    ]
    return dataclasses.replace(sheet, rows=rows), dataclasses.replace(columns, subject=TOGETHER)
