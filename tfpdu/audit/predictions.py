"""Predictions beside the truth and the groups that people belong to: what group fairness is measured on."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit.accuracy import probabilities_of
from tfpdu.audit.signals import Predict
from tfpdu.common.errors import UserError
from tfpdu.data.attributes import product
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records

MOST_CELLS = 50  # groups of an attribute, and of all attributes together, that can still be told apart


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A sensitive attribute of n rows: int64[n] codes into `values`; -1 is unknown."""

    name: str
    values: tuple[str, ...]
    codes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Predictions:
    """n predictions of C classes, in an order that depends on their content alone.

    Attributes:
      labels: int64[n], the true classes.
      predicted: int64[n], the predicted ones.
      classes: the name of each class; of two, the second one is the positive.
      attributes: the sensitive attributes.
      confidence: float64[n] in [0, 1], the probability given to the predicted class, or None.
      subjects: int64[n], equal where two rows are of one person, or None where rows are independent.
    """

    labels: np.ndarray
    predicted: np.ndarray
    classes: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    confidence: np.ndarray | None = None
    subjects: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UserError(f"labels: expected at least two classes, got {len(self.classes)}")

    def take(self, rows: np.ndarray) -> "Predictions":
        """The rows chosen by an index or boolean array."""
        return self._each(lambda column: column[rows])

    def in_order(self) -> "Predictions":
        """The same rows sorted by what they say, so that no sum depends on the order they came in."""
        keys = [] if self.subjects is None else [self.subjects]
        keys += [attribute.codes for attribute in self.attributes]
        keys += [] if self.confidence is None else [self.confidence]
        ordered = self.take(np.lexsort([*keys, self.predicted, self.labels]))
        if ordered.subjects is None:
            return ordered
        _, first, codes = np.unique(ordered.subjects, return_index=True, return_inverse=True)
        return dataclasses.replace(ordered, subjects=np.argsort(np.argsort(first))[codes])

    def known(self, attribute: Attribute) -> tuple["Predictions", np.ndarray]:
        """The rows whose value of this attribute is known, and their codes."""
        known = attribute.codes != UNKNOWN
        return self.take(known), attribute.codes[known]

    @property
    def together(self) -> Attribute | None:
        """All attributes as one, its values "a, b"; None for fewer than two, or for more than 50 cells."""
        cells = math.prod(len(attribute.values) for attribute in self.attributes)
        if len(self.attributes) < 2 or cells > MOST_CELLS:
            return None
        specs = [AttributeSpec(attribute.name, attribute.values) for attribute in self.attributes]
        spec, codes = product(specs, [attribute.codes for attribute in self.attributes])
        return Attribute(spec.name, spec.values, codes)

    def _each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Predictions":
        return dataclasses.replace(
            self,
            labels=change(self.labels),
            predicted=change(self.predicted),
            attributes=tuple(dataclasses.replace(a, codes=change(a.codes)) for a in self.attributes),
            confidence=None if self.confidence is None else change(self.confidence),
            subjects=None if self.subjects is None else change(self.subjects),
        )


def predictions_on(model: Predict | np.ndarray, records: Records) -> Predictions:
    """What a model predicts for the rows of a table.

    Args:
      model: the model, or its probabilities [n, C] on the records, in their order.
      records: n rows, at least one; a subject that is an empty string is a person of their own.
    """
    table = probabilities_of(model, records)
    predicted = table.argmax(axis=1)
    return Predictions(
        labels=records.labels.astype(np.int64),
        predicted=predicted,
        classes=tuple(records.label_names),
        attributes=tuple(Attribute(spec.name, spec.values, records.column(spec.name)) for spec in records.specs),
        confidence=np.clip(table[np.arange(len(table)), predicted].astype(np.float64), 0, 1),
        subjects=None if records.subjects is None else subject_codes(records.subjects),
    )


def subject_codes(subjects: Sequence[str] | np.ndarray) -> np.ndarray | None:
    """int64[n]: one code a person; an empty name is a person of their own. None where nobody occurs twice."""
    names = np.asarray(subjects).astype(str)
    _, codes = np.unique(names, return_inverse=True)
    nameless = names == ""
    codes = np.where(nameless, codes.max(initial=0) + np.cumsum(nameless), codes)
    _, codes = np.unique(codes, return_inverse=True)
    return None if codes.max(initial=-1) + 1 == len(names) else codes


def _coded(column: Sequence[Any], values: Mapping[Any, int]) -> np.ndarray:
    return np.array([values[value] for value in column], np.int64)


def predictions_of(
    y_true: Any, y_pred: Any, groups: Any, scores: Any = None, subjects: Any = None, positive: Any = None
) -> Predictions:
    """Predictions out of columns of any kind; arguments as for `tfpdu.audit.group_metrics`."""
    truth, answers = list(y_true), list(y_pred)
    columns = dict(groups.items()) if hasattr(groups, "items") else {"group": groups}
    optional = {name: column for name, column in (("scores", scores), ("subjects", subjects)) if column is not None}
    for name, column in {"y_pred": answers, **columns, **optional}.items():
        if len(column) != len(truth):
            raise UserError(f"{name}: has {len(column)} rows, y_true has {len(truth)}")
    values = _sorted(truth)
    if positive is not None and positive not in values:
        raise UserError(f"positive: expected one of {_listed(values)}, got {positive!r}")
    if len(values) == 2 and positive == values[0]:
        values.reverse()
    place = {value: k for k, value in enumerate(values)}
    strange = next((value for value in answers if value not in place), None)
    if strange is not None:
        raise UserError(f"y_pred: {strange!r} is no class of y_true, which has {_listed(values)}")
    return Predictions(
        labels=_coded(truth, place),
        predicted=_coded(answers, place),
        classes=tuple(map(str, values)),
        attributes=tuple(_attribute(str(name), list(column)) for name, column in columns.items()),
        confidence=None if scores is None else _probabilities(scores),
        subjects=None if subjects is None else subject_codes([str(subject) for subject in subjects]),
    )


def _attribute(name: str, column: list[Any]) -> Attribute:
    known = [value for value in column if not _is_unknown(value)]
    values = _sorted(known)
    if len(values) > MOST_CELLS:
        raise UserError(f"{name}: has {len(values)} values, expected at most {MOST_CELLS}; put them into groups first")
    if not values:
        raise UserError(f"{name}: no row has a known value")
    place = {value: code for code, value in enumerate(values)}
    codes = [UNKNOWN if _is_unknown(value) else place[value] for value in column]
    return Attribute(name, tuple(map(str, values)), np.array(codes, np.int64))


def _is_unknown(value: Any) -> bool:
    return value is None or value != value or (not isinstance(value, str) and value == UNKNOWN)


def _probabilities(scores: Any) -> np.ndarray:
    found = np.asarray(scores, np.float64)
    wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(wrong):
        raise UserError(f"scores: expected probabilities from 0 to 1, row {int(wrong[0])} has {found[wrong[0]]:g}")
    return found


def _sorted(values: Sequence[Any]) -> list[Any]:
    found = set(values)
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def _listed(values: Sequence[Any], most: int = 6) -> str:
    return ", ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "")
