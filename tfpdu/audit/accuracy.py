"""Accuracy, overall and by group, with exact intervals: rows of `fairness.json`."""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.audit.signals import Predict
from tfpdu.common.errors import UserError
from tfpdu.common.intervals import clopper_pearson
from tfpdu.data.records import Records


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Share of rows classified right, its exact interval and the number of rows."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def accuracy(model: Predict | np.ndarray, records: Records, confidence: float = 0.95) -> Accuracy:
    """Accuracy over all rows, at least one.

    Args:
      model: the model, or its probabilities [n, C] on the records, in their order.
      records: n rows.
      confidence: of the Clopper-Pearson interval, which takes rows as independent.
    """
    right = _right(model, records)
    if not right.size:
        raise UserError("accuracy: no rows")
    low, high = clopper_pearson(int(right.sum()), right.size, confidence)
    return Accuracy(float(right.mean()), low, high, right.size)


def accuracy_by_group(
    model: Predict | np.ndarray, records: Records, iteration: int, stage: str, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Accuracy of each class (attribute "label") and of each value of each attribute.

    Args:
      model: the model, or its probabilities [n, C] on the records, in their order.
      records: the rows to count on; a row whose attribute is unknown is in none of that attribute's groups.
      iteration: copied into the rows.
      stage: "before", "after" (Algorithm 1) or "iteration".
      confidence: of the Clopper-Pearson intervals, which take rows as independent.

    Returns:
      One dict a group, in the order of the specs: iteration, stage, attribute, group (the value's name), metric
      ("accuracy"), value, ci_low, ci_high, n, n_pos, n_neg. n is the group's rows, and n_pos + n_neg = n always. With
      two classes n_pos are the rows whose true class is the second one (code 1), n_neg those of the first. With more
      there is no one positive class: accuracy is each row's recall of its own class, so every row is a positive and
      n_neg is 0. A group without rows is not estimable: value, ci_low and ci_high are None, the counts are 0.
    """
    right = _right(model, records)
    rows = []
    for name in ("label", *(spec.name for spec in records.specs)):
        codes = records.column(name)
        for code, value_name in enumerate(records.spec(name).values):
            inside = codes == code
            head = {"iteration": iteration, "stage": stage, "attribute": name, "group": value_name}
            rows.append(head | _measured(right[inside], records.labels[inside], records.classes, confidence))
    return rows


def _measured(right: np.ndarray, labels: np.ndarray, classes: int, confidence: float) -> dict[str, Any]:
    n = right.size
    n_pos = int((labels == 1).sum()) if classes == 2 else n
    value, low, high = None, None, None
    if n:
        value = float(right.mean())
        low, high = clopper_pearson(int(right.sum()), n, confidence)
    measured = {"metric": "accuracy", "value": value, "ci_low": low, "ci_high": high}
    return measured | {"n": n, "n_pos": n_pos, "n_neg": n - n_pos}


def probabilities_of(model: Predict | np.ndarray, records: Records, block_rows: int = 1024) -> np.ndarray:
    """float[n, C]: the model's probabilities on the records, or the given ones, checked."""
    if callable(model):
        starts = range(0, len(records), block_rows)
        blocks = [np.asarray(model(records.images[s : s + block_rows])) for s in starts]
        table = np.concatenate(blocks) if blocks else np.empty((0, records.classes))
    else:
        table = np.asarray(model)
    if table.shape != (len(records), records.classes):
        raise UserError(f"probabilities: expected [{len(records)}, {records.classes}], got {list(table.shape)}")
    if not np.isfinite(table).all():
        raise UserError(f"probabilities: row {int(np.argwhere(~np.isfinite(table))[0][0])} has a NaN or an infinity")
    return table


def _right(model: Predict | np.ndarray, records: Records) -> np.ndarray:
    """bool[n]: rows whose likeliest class is the true one."""
    return probabilities_of(model, records).argmax(axis=1) == records.labels
