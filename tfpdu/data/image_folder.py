"""One's own pictures: a folder, and a CSV that says what each of them shows."""

import csv
import dataclasses
import hashlib
import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfpdu.common import files
from tfpdu.common.errors import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress, say
from tfpdu.common.validation import one_of
from tfpdu.data.attributes import Column, as_int8, is_missing, number
from tfpdu.data.pictures import read_picture
from tfpdu.data.records import Records
from tfpdu.data.shelf import Filling, Shelf
from tfpdu.data.storage import Images, pick

DEFAULT_SIZE = 64
DEFAULT_PROBLEMS = "problems.csv"
ID = "image_folder/"  # before the file, in ids


@dataclasses.dataclass(frozen=True)
class Table:
    """The CSV as it stands: texts.

    Attributes:
      path: the file.
      columns: its header.
      rows: one dict a row; a missing field is an empty text.
      lines: line of the file in which each row ends; the header is line 1.
      faults: {row: reason} found while reading.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    lines: list[int]
    faults: dict[int, str]

    def texts(self, column: str, rows: np.ndarray) -> list[str]:
        """A column's texts for some rows."""
        return [self.rows[row][column] for row in rows]


def load_image_folder(
    directory: str = "",
    image_size: int = 0,
    attributes: Sequence[str] = (),
    table: str = "",
    label: str = "",
    subject: str = "",
    problems: str | os.PathLike[str] = "",
    shelf: Shelf | None = None,
) -> Records:
    """Pictures, uint8[n, 64, 64, 3], upright, in colour, their centre square; ids 'image_folder/<file>'.

    A row is at fault if its picture is missing, damaged or listed twice, if its label is missing, or if a column
    with bins holds no number. All such rows are left out and listed in `problems` (file, row, reason), and one line
    on stderr says so. A missing attribute is no fault: it is unknown (-1).

    Args:
      directory: the folder; the CSV's column `file` is relative to it.
      image_size: pixels a side; 0 = 64.
      attributes: columns; a quantity with bins, as edges 'age:30,60' or quantiles 'age:q3'. Empty = all others.
      table: the CSV, by its path or its name in the folder; empty = the only one in the folder.
      label: the column of the class (bins as above); empty = 'label'.
      subject: the column of the person; empty = 'subject' where there is one.
      problems: where faulty rows are listed; empty = problems.csv in the working directory.
      shelf: where too many pictures go.

    Raises:
      UserError: no folder or table, an unknown column, or no row without fault.
    """
    root = Path(directory).expanduser()
    if not directory or not root.is_dir():
        raise UserError(f"config.data.directory={directory}: no such directory; image_folder needs one with pictures")
    if image_size < 0:
        raise UserError(f"config.data.image_size: expected pixels a side or 0, got {image_size}")
    sheet = read_table(find_table(root, table))
    target = Column.parse(label or "label", sheet.columns)
    person = subject or ("subject" if "subject" in sheet.columns else "")
    if person:
        one_of(sheet.columns, **{"config.data.subject": person})
    chosen = _attribute_columns(sheet, attributes, {"file", target.name, person})

    pictures, faults = read_pictures(sheet, root, (target, *chosen), image_size or DEFAULT_SIZE, shelf or Shelf())
    _report(sheet, faults, Path(problems or DEFAULT_PROBLEMS))
    return as_records(sheet, pictures, faults, target, chosen, person)


def read_pictures(
    sheet: Table, root: Path, columns: Sequence[Column], size: int, shelf: Shelf
) -> tuple[Images, dict[int, str]]:
    """Pictures of a table's rows, uint8[rows, size, size, 3], and {row: reason} of those that are at fault.

    Args:
      sheet: the table.
      root: the folder that its column `file` is relative to.
      columns: the label's, and those of the attributes.
      size: pixels a side.
      shelf: where too many pictures go.
    """
    target, *chosen = columns
    faults = {**_faulty_fields(sheet, target, chosen), **sheet.faults}
    pictures, unreadable = _read_pictures(sheet, root, faults, size, shelf)
    return pictures, faults | unreadable


def as_records(
    sheet: Table, pictures: Images, faults: Mapping[int, str], target: Column, chosen: Sequence[Column], person: str
) -> Records:
    """The rows that are not at fault, as `load_image_folder` returns them; raises `UserError` where there is none."""
    good = np.array([row for row in range(len(sheet.rows)) if row not in faults], np.int64)
    if not len(good):
        first = f": {faults[min(faults)]}" if faults else ""
        raise UserError(f"{sheet.path}: none of {len(sheet.rows)} rows can be used{first}")
    label_spec, labels = target.encode(sheet.texts(target.name, good))
    coded = [column.encode(sheet.texts(column.name, good)) for column in chosen]
    return Records(
        images=pick(pictures, good) if faults else pictures,
        labels=labels.astype(np.int32),
        attributes=np.stack([np.zeros(len(good), np.int8), *(as_int8(*pair) for pair in coded)], 1)[:, 1:],
        ids=np.array([f"{ID}{file_of(sheet.rows[row])}" for row in good]),
        origin=np.zeros(len(good), np.int8),
        specs=tuple(spec for spec, _ in coded),
        label_names=label_spec.values,
        subjects=np.array([text.strip() for text in sheet.texts(person, good)]) if person else None,
    )


def read_table(path: Path, flag: str = "config.data.table", needed: Sequence[str] = ("file",)) -> Table:
    """Reads a CSV with a header; fields are parted by commas, semicolons or tabs, whichever the header has most of.

    Args:
      path: the file.
      flag: how the user named it, for messages.
      needed: columns that it must have.

    Raises:
      UserError: no such file, not UTF-8, a column is missing, or two columns of one name.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{flag}={path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: not a readable UTF-8 table ({error}); spreadsheets save one as CSV UTF-8") from None
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    columns = tuple(name.strip() for name in next(reader, []))
    if len(set(columns)) != len(columns):
        raise UserError(f"{path}: two columns have the same name; it has {', '.join(columns)}")
    for name in needed:
        one_of(columns, **{f"{path}: column": name})
    rows: list[dict[str, str]] = []
    lines: list[int] = []
    faults: dict[int, str] = {}
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(columns):
                faults[len(rows)] = f"{len(fields)} fields, the header has {len(columns)}"
            padded = [*fields, *[""] * len(columns)][: len(columns)]
            rows.append(dict(zip(columns, padded, strict=True)))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from None
    return Table(path, columns, rows, lines, faults)


def find_table(root: Path, table: str) -> Path:
    """The CSV of a folder: by its path, by its name in the folder, or the only one there."""
    if table:
        path = Path(table).expanduser()
        return path if path.exists() or not (root / table).exists() else root / table
    found = sorted(path for path in root.glob("*.csv") if path.name != DEFAULT_PROBLEMS)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(f"config.data.table: expected exactly one .csv in {root}, found {names}; name the table")
    return found[0]


def _attribute_columns(sheet: Table, attributes: Sequence[str], taken: set[str]) -> list[Column]:
    names = tuple(attributes) or tuple(name for name in sheet.columns if name not in taken)
    columns = [Column.parse(name, sheet.columns) for name in names]
    if len({column.name for column in columns}) != len(columns):
        raise UserError(f"config.data.attributes: a column is named twice in {', '.join(names)}")
    return columns


def _faulty_fields(sheet: Table, target: Column, chosen: Sequence[Column]) -> dict[int, str]:
    """{row: reason} for what can be said without opening a picture."""
    faults: dict[int, str] = {}
    first: dict[str, int] = {}
    for row, fields in enumerate(sheet.rows):
        name = file_of(fields)
        if not name:
            faults[row] = "no file named"
        elif name in first:
            faults[row] = f"listed already in row {sheet.lines[first[name]]}"
        elif is_missing(fields[target.name]):
            faults[row] = f"no {target.name}"
        else:
            wrong = next((c.name for c in (target, *chosen) if c.is_binned and not _numeric(fields[c.name])), None)
            if wrong:
                faults[row] = f"{wrong}: {fields[wrong]!r} is no number"
        first.setdefault(name, row)
    return faults


def _read_pictures(
    sheet: Table, root: Path, faults: dict[int, str], size: int, shelf: Shelf
) -> tuple[Images, dict[int, str]]:
    """Decodes in threads. Returns uint8[rows, size, size, 3] (faulty rows undefined), and {row: reason}."""
    rows = [row for row in range(len(sheet.rows)) if row not in faults]
    paths = {row: path_of(root, file_of(sheet.rows[row])) for row in rows}

    def read(pictures: Filling) -> dict[int, str]:
        if pictures.wanted:
            pictures.notes["unreadable"] = _decode(paths, size, pictures)
        return {int(row): reason for row, reason in pictures.notes["unreadable"].items()}

    shape = (len(sheet.rows), size, size, 3)
    source = {"name": "image_folder", "root": str(root.resolve()), "side": size, "rows": len(sheet.rows)}
    return shelf.fill({**source, "files": _fingerprint(paths)}, shape, read)


def _decode(paths: dict[int, Path], size: int, pictures: Filling) -> dict[int, str]:
    """Puts the pictures of these rows; {row: reason} of those that cannot be read."""

    def read(row: int) -> str:
        try:
            picture = read_picture(paths[row], size)
        except ValueError as error:
            return str(error)
        pictures.put(row, picture[None])
        return ""

    unreadable: dict[int, str] = {}
    with (
        Progress("pictures", len(paths), "files") as progress,
        ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool,
    ):
        for row, reason in zip(paths, pool.map(read, paths), strict=True):
            progress.advance()
            safe_point()
            if reason:
                unreadable[row] = reason
    return unreadable


def _fingerprint(paths: dict[int, Path]) -> str:
    """Changes with the files, their order, sizes and times of change."""
    digest = hashlib.sha256()
    for row, path in paths.items():
        try:
            about = path.stat()
            state = f"{about.st_size} {about.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{row} {path.name} {state}\n".encode())
    return digest.hexdigest()


def file_of(fields: dict[str, str]) -> str:
    """The file as it is named in ids: NFC, so that one name is one id on every system."""
    return unicodedata.normalize("NFC", fields["file"].strip())


def path_of(root: Path, name: str) -> Path:
    """The file on disk; a name with an umlaut may be stored decomposed (macOS) or composed."""
    composed = root / name
    decomposed = root / unicodedata.normalize("NFD", name)
    return decomposed if not composed.exists() and decomposed.exists() else composed


def _numeric(text: str) -> bool:
    try:
        number(text)
    except ValueError:
        return False
    return True


def _report(sheet: Table, faults: dict[int, str], path: Path) -> None:
    """Writes the list of faulty rows, and says so in one line; nothing where there are none."""
    if not faults:
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "row", "reason"])
    writer.writerows([file_of(sheet.rows[row]), sheet.lines[row], faults[row]] for row in sorted(faults))
    files.write_text(path, text.getvalue())
    say(f"{sheet.path}: {len(faults)} of {len(sheet.rows)} rows are at fault and left out; see {path}")
