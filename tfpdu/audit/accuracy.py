"""Accuracy over all rows, with its exact interval."""

import dataclasses

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
