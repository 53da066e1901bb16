"""Predictions of any framework out of a CSV: labels, predictions, sensitive columns, scores and persons as texts."""

import dataclasses
from pathlib import Path

import numpy as np

from tfpdu.audit.predictions import MOST_CELLS, Attribute, Predictions, subject_codes
from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of
from tfpdu.data.attributes import Column, is_missing
from tfpdu.data.image_folder import Table, read_table


@dataclasses.dataclass(frozen=True)
class PredictionColumns:
    """Which column of a CSV says what.

    Attributes:
      sensitive: names, or names with bins for a quantity: "gender", "age:30,60", "age:q3".
      label: the true class.
      prediction: the predicted class.
      score: of two classes the probability of the positive one, of more that of the predicted one; "" is none.
      subject: the person; "" is none.
      positive: the positive one of two classes; "" is the second in order.
      id: the picture or person, by which predictions are joined with a table of people.
    """

    sensitive: tuple[str, ...]
    label: str = "label"
    prediction: str = "prediction"
    score: str = ""
    subject: str = ""
    positive: str = ""
    id: str = "file"

    @property
    def of_people(self) -> list[str]:
        """Names of the columns that a table of people may have: the truth, the groups, the person."""
        return [self.label, *(text.partition(":")[0] for text in self.sensitive), *filter(None, [self.subject])]


def read_predictions(path: str | Path, columns: PredictionColumns) -> Predictions:
    """Reads the predictions of a CSV.

    Args:
      path: a UTF-8 file with a header; fields are parted by commas, semicolons or tabs.
      columns: which column says what. A sensitive value that is empty, NA or ? is unknown.

    Raises:
      UserError: the file, a column or a row is not as it should be; one line says which and why.
    """
    _some_groups(columns)
    needed = [columns.label, columns.prediction, *(name for name in (columns.score, columns.subject) if name)]
    return _predictions(_sound(path, "--predictions", needed), columns)


def join_predictions(path: str | Path, people: str | Path, columns: PredictionColumns) -> tuple[Predictions, list[str]]:
    """Reads predictions whose truth, groups or persons are in another table, joined by `columns.id`.

    What both files have is taken from the predictions. Predictions of nobody in the table, and of somebody whose class
    it does not know, are left out. Of rows of the table with one id the first counts.

    Args:
      path: the predictions, a CSV as for `read_predictions`.
      people: the other one.
      columns: which column says what.

    Returns:
      The predictions, and in a line each what was left out.

    Raises:
      UserError: a file, a column or a row is not as it should be, an id is predicted twice, or none that is predicted
        is in the table; one line says which and why.
    """
    _some_groups(columns)
    needed = [columns.id, columns.prediction, *filter(None, [columns.score])]
    answers = _sound(path, "--predictions", needed)
    elsewhere = [name for name in columns.of_people if name not in answers.columns]
    table = _sound(people, "--table", [columns.id, *elsewhere])
    names, ids = _known(table, columns.id), _once(answers, columns.id)
    known: dict[str, dict[str, str]] = {}
    for name, row in zip(names, table.rows, strict=True):
        known.setdefault(name, row)
    found = [
        (known[name] | row, line)
        for name, row, line in zip(ids, answers.rows, answers.lines, strict=True)
        if name in known
    ]
    if not found:
        raise UserError(
            f"--predictions={path}: none of its {len(ids)} rows has a {columns.id!r} of {people}: it says"
            f" {ids[0]!r}, the table {next(iter(known))!r}"
        )
    kept = [(row, line) for row, line in found if not is_missing(row[columns.label])]
    again = len(names) - len(known)
    notes = [f"{again} rows of {people} have a {columns.id} that came before: the first counts"] if again else []
    notes += [
        f"{count} of {len(ids)} predictions are left out: {reason}"
        for count, reason in (
            (len(ids) - len(found), f"{people} has no such {columns.id}"),
            (len(found) - len(kept), f"their {columns.label} is not known"),
        )
        if count
    ]
    if not kept:
        raise UserError(f"--table={people}: no row that is predicted has a known {columns.label!r}")
    header = tuple(dict.fromkeys((*table.columns, *answers.columns)))
    joined = Table(answers.path, header, [row for row, _ in kept], [line for _, line in kept], {})
    return _predictions(joined, columns), notes


def _some_groups(columns: PredictionColumns) -> None:
    if not columns.sensitive:
        raise UserError("--sensitive: expected the columns of the groups to compare, e.g. --sensitive=gender,age:30,60")


def _sound(path: str | Path, flag: str, needed: list[str]) -> Table:
    """A table with rows and without faults."""
    table = read_table(Path(path), flag, needed)
    if not table.rows:
        raise UserError(f"{flag}={path}: has no rows")
    if table.faults:
        row, reason = min(table.faults.items())
        raise UserError(f"{path}: line {table.lines[row]}: {reason}")
    return table


def _once(table: Table, column: str) -> list[str]:
    """The ids of a table's rows, in which none may come twice."""
    ids = _known(table, column)
    first: dict[str, int] = {}
    for row, name in enumerate(ids):
        before = table.lines[first.setdefault(name, row)]
        if before != table.lines[row]:
            raise UserError(f"{table.path}: line {table.lines[row]}: {column} {name!r} is in line {before} already")
    return ids


def _predictions(table: Table, columns: PredictionColumns) -> Predictions:
    classes, labels, predicted = _classes(table, columns)
    return Predictions(
        labels=labels,
        predicted=predicted,
        classes=classes,
        attributes=tuple(_attribute(table, text) for text in columns.sensitive),
        confidence=_confidence(table, columns, predicted, len(classes)) if columns.score else None,
        subjects=subject_codes([text.strip() for text in _texts(table, columns.subject)]) if columns.subject else None,
    )


def cautions(predictions: Predictions) -> list[str]:
    """What a reader should know before the numbers, a line each."""
    lines = []
    given = np.unique(predictions.predicted)
    if len(given) == 1:
        lines.append(
            f"every prediction is {predictions.classes[given[0]]!r}: groups cannot differ in what they are given,"
            " only accuracies and calibration can be compared"
        )
    for attribute in predictions.attributes:
        if len(np.unique(attribute.codes[attribute.codes >= 0])) < 2:
            lines.append(f"{attribute.name}: there is one group alone, so nothing can be compared")
        spelled = {value.casefold(): value for value in attribute.values}
        lines += [
            f"{attribute.name}: {value!r} and {other!r} differ in spelling alone, and are two groups here"
            for value in attribute.values
            if (other := spelled[value.casefold()]) != value
        ]
    return lines


def _classes(table: Table, columns: PredictionColumns) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The classes' names, the labels and the predictions."""
    truth, answers = (_known(table, name) for name in (columns.label, columns.prediction))
    numeric = all(_number(text) is not None for text in {*truth, *answers})
    if numeric:  # 1 and 1.0 are one class
        truth, answers = ([f"{float(text):.12g}" for text in texts] for texts in (truth, answers))
    names = sorted(set(truth), key=float if numeric else str)
    if len(names) < 2:
        raise UserError(
            f"{table.path}: column {columns.label!r}: all rows are {names[0]!r}, expected two classes or more"
        )
    if columns.positive:
        if len(names) > 2:
            raise UserError(f"--positive={columns.positive}: the labels have {len(names)} classes; it is for two alone")
        value = _number(columns.positive)
        positive = f"{value:.12g}" if numeric and value is not None else columns.positive
        one_of(names, **{"--positive": positive})
        names.sort(key=lambda name: name == positive)
    code = {name: k for k, name in enumerate(names)}
    for row, answer in enumerate(answers):
        if answer not in code:
            few = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise UserError(
                f"{table.path}: line {table.lines[row]}: {columns.prediction} is {answer!r}, which no row's"
                f" {columns.label} is; labels are {few}"
            )
    labels, predicted = (np.array([code[text] for text in texts], np.int64) for texts in (truth, answers))
    return tuple(names), labels, predicted


def _attribute(table: Table, text: str) -> Attribute:
    column = Column.parse(text, table.columns)
    texts = _texts(table, column.name)
    values = {value.strip() for value in texts if not is_missing(value)}
    if not column.is_binned and len(values) > MOST_CELLS:
        raise UserError(
            f"--sensitive={text}: {len(values)} different values, expected at most {MOST_CELLS};"
            f" of numbers make bins, e.g. {column.name}:30,60 or {column.name}:q3"
        )
    if not values:
        raise UserError(f"--sensitive={text}: no row has a value")
    try:
        spec, codes = column.encode(texts)
    except ValueError as error:
        raise UserError(f"--sensitive={text}: expected numbers, {error}") from None
    return Attribute(spec.name, spec.values, codes)


def _confidence(table: Table, columns: PredictionColumns, predicted: np.ndarray, classes: int) -> np.ndarray:
    numbers = [_number(text) for text in _known(table, columns.score)]
    for row, value in enumerate(numbers):
        if value is None or not 0 <= value <= 1:
            given = table.rows[row][columns.score]
            raise UserError(
                f"{table.path}: line {table.lines[row]}: {columns.score} is {given!r}, expected a probability"
            )
    scores = np.array(numbers, np.float64)
    return np.where(predicted == 1, scores, 1 - scores) if classes == 2 else scores


def _known(table: Table, column: str) -> list[str]:
    texts = [text.strip() for text in _texts(table, column)]
    for row, text in enumerate(texts):
        if is_missing(text):
            raise UserError(f"{table.path}: line {table.lines[row]}: {column} is empty")
    return texts


def _texts(table: Table, column: str) -> list[str]:
    return [row[column] for row in table.rows]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def split_names(text: str) -> tuple[str, ...]:
    """Names of a flag: "gender,age:30,60" are gender and age:30,60."""
    parts: list[str] = []
    for part in text.split(","):
        if parts and ":" in parts[-1] and _number(part) is not None:
            parts[-1] += f",{part}"
        elif part.strip():
            parts.append(part.strip())
    return tuple(parts)
