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
    """

    sensitive: tuple[str, ...]
    label: str = "label"
    prediction: str = "prediction"
    score: str = ""
    subject: str = ""
    positive: str = ""


def read_predictions(path: str | Path, columns: PredictionColumns) -> Predictions:
    """Reads the predictions of a CSV.

    Args:
      path: a UTF-8 file with a header; fields are parted by commas, semicolons or tabs.
      columns: which column says what. A sensitive value that is empty, NA or ? is unknown.

    Raises:
      UserError: the file, a column or a row is not as it should be; one line says which and why.
    """
    if not columns.sensitive:
        raise UserError("--sensitive: expected the columns of the groups to compare, e.g. --sensitive=gender,age:30,60")
    needed = [columns.label, columns.prediction, *(name for name in (columns.score, columns.subject) if name)]
    table = read_table(Path(path), "--predictions", needed)
    if not table.rows:
        raise UserError(f"--predictions={path}: has no rows")
    if table.faults:
        row, reason = min(table.faults.items())
        raise UserError(f"{path}: line {table.lines[row]}: {reason}")
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
