"""What the newcomer asked for, held against her table before a picture is opened."""

import dataclasses
import os
from collections import Counter
from pathlib import Path
from unicodedata import normalize

import numpy as np
from PIL import Image

from tfpdu.common.errors import UserError
from tfpdu.common.interrupt import safe_point
from tfpdu.common.validation import did_you_mean
from tfpdu.data.attributes import MOST_NUMBERS, Column, is_missing, is_number
from tfpdu.data.image_folder import Table, file_of, find_table, path_of, read_table

MOST_VALUES = 20  # of a sensitive column or a label: beyond this a group is too small to say anything about


@dataclasses.dataclass(frozen=True)
class Request:
    """The flags of `tfpdu init`.

    Attributes:
      images: the folder of the pictures.
      table: the CSV, by its path or by its name in the folder; empty: the only one in the folder.
      label: the column of what is to be learned.
      sensitive: columns of the groups, with bins for a quantity: "gender", "age:30,60", "age:q3".
      subject: the column of the person; empty: there is none.
    """

    images: Path
    table: str
    label: str
    sensitive: tuple[str, ...]
    subject: str = ""

    def __post_init__(self) -> None:
        if not self.images.is_dir():
            raise UserError(f"--images={self.images}: no such folder")
        if not self.label:
            raise UserError("--label: expected the column of what is to be learned, e.g. --label=smiling")
        if not self.sensitive:
            raise UserError(
                "--sensitive: expected the columns of the groups to balance, e.g. --sensitive=gender,age:q3"
            )


@dataclasses.dataclass(frozen=True)
class Columns:
    """The request's columns, found in the table."""

    label: Column
    sensitive: tuple[Column, ...]
    subject: str

    @property
    def names(self) -> list[str]:
        """The label's and the sensitive ones."""
        return [self.label.name, *(column.name for column in self.sensitive)]


def check_home(home: Path) -> None:
    """Refuses a folder that holds anything: nothing is ever overwritten."""
    if home.exists() and not home.is_dir():
        raise UserError(f"init {home}: is a file, expected a folder to make")
    if home.is_dir() and any(home.iterdir()):
        raise UserError(f"init {home}: the folder holds something already; name another, or empty it")
    if not home.absolute().parent.is_dir():
        raise UserError(f"init {home}: there is no folder {home.absolute().parent}")


def open_table(request: Request) -> tuple[Table, Columns]:
    """Reads the table, finds the columns, and refuses what cannot be learned from or balanced.

    Raises:
      UserError: no table, no rows, an unknown column, a label of one value, a column with too many values, or a table
        that names no picture of the folder; one line says which and what to do.
    """
    if not picture_files(request.images):
        raise UserError(f"--images={request.images}: holds no pictures (.jpg, .png, .webp, .tif, .bmp, ...)")
    sheet = read_table(find_table(request.images, request.table), "--table", needed=())
    if "file" not in sheet.columns:
        raise UserError(
            f"{sheet.path}: no column 'file' with the picture of each row"
            f"{did_you_mean('file', sheet.columns)}; its columns are {', '.join(sheet.columns) or 'none'}"
        )
    if not sheet.rows:
        raise UserError(f"{sheet.path}: has a header and no rows")
    columns = Columns(
        _column("--label", request.label, sheet),
        tuple(_column("--sensitive", text, sheet) for text in request.sensitive),
        request.subject,
    )
    if request.subject and request.subject not in sheet.columns:
        raise UserError(_unknown("--subject", request.subject, sheet))
    taken = ["file", *columns.names, *([request.subject] if request.subject else [])]
    twice = [name for name, count in Counter(taken).items() if count > 1]
    if twice:
        raise UserError(
            f"column {twice[0]!r} is asked for twice; file, label, sensitive and subject are different ones"
        )
    for column in (columns.label, *columns.sensitive):
        _check_values(column, request, sheet)
    if not any(path_of(request.images, file_of(fields)).is_file() for fields in sheet.rows if file_of(fields)):
        raise UserError(
            f"{sheet.path}: row {sheet.lines[0]} names {file_of(sheet.rows[0])!r}, and no picture of the table is in"
            f" {request.images}; names in column 'file' are relative to that folder"
        )
    return sheet, columns


def _column(flag: str, text: str, sheet: Table) -> Column:
    name = text if text in sheet.columns else text.partition(":")[0]
    if name not in sheet.columns:
        raise UserError(_unknown(flag, name, sheet))
    return Column.parse(text, sheet.columns)


def _unknown(flag: str, name: str, sheet: Table) -> str:
    near = did_you_mean(name, sheet.columns)
    return f"{flag}={name}: {sheet.path} has no such column{near}; its columns are {', '.join(sheet.columns)}"


def _check_values(column: Column, request: Request, sheet: Table) -> None:
    """Refuses a column with fewer than two or too many values, before hours are spent on it."""
    flag = "--sensitive" if any(column.name == text.partition(":")[0] for text in request.sensitive) else "--label"
    texts = [fields[column.name].strip() for fields in sheet.rows]
    known = [text for text in texts if not is_missing(text)]
    values = set(known)
    if len(values) < 2:
        has = f"all {len(known)} known rows are {known[0]!r}" if known else "no row has a value"
        raise UserError(f"{flag}={column.name}: {has}; expected two values or more")
    numbers = [float(text) for text in known if is_number(text)]
    if column.is_binned:
        if len(numbers) < len(known) / 2:
            row = next(k for k, text in enumerate(texts) if not is_missing(text) and not is_number(text))
            where = f"row {sheet.lines[row]} of {sheet.path}"
            raise UserError(f"{flag}={column.name}: bins are for numbers, and {where} holds {texts[row]!r}")
        return
    if len(numbers) >= 0.9 * len(known) and len(set(numbers)) > MOST_NUMBERS:
        raise UserError(
            f"{flag}={column.name}: {len(set(numbers))} different numbers; {_bins(column, request, numbers)}"
        )
    if len(values) > MOST_VALUES:
        raise UserError(
            f"{flag}={column.name}: {len(values)} different values in {len(known)} rows, such as {known[0]!r};"
            f" expected at most {MOST_VALUES}: group them in the table, or leave the column out"
        )


def _bins(column: Column, request: Request, numbers: list[float]) -> str:
    """What to say in place of a bare quantity: the whole flag, to be pasted."""
    low, high = (f"{float(f'{edge:.3g}'):.12g}" for edge in np.quantile(numbers, [1 / 3, 2 / 3]))
    edges = f"{low},{high}" if low != high else low

    def flag(bins: str) -> str:
        if column.name == request.label:
            return f"--label={column.name}:{bins}"
        names = (f"{name}:{bins}" if name == column.name else name for name in request.sensitive)
        return f"--sensitive={','.join(names)}"

    return f"state bins, by edges {flag(edges)} or as thirds {flag('q3')}"


def picture_files(root: Path) -> set[str]:
    """Names of all pictures under a folder, by their suffix, NFC, parted by slashes; hidden ones do not count."""
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    found = set()
    for folder, below, names in os.walk(root):
        safe_point()
        below[:] = [name for name in below if not name.startswith(".")]
        inside = Path(folder).relative_to(root)
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in known:
                found.add(normalize("NFC", (inside / name).as_posix()))
    return found
