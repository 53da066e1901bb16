"""Slices: the rows of one class, of one value of an attribute, or those that the model gets right or wrong."""

from collections.abc import Mapping, Sequence

import numpy as np

from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.data.records import Records

CORRECT = "correct"


def slice_masks(signals: Signals, records: Records, by: Sequence[str]) -> dict[str, np.ndarray]:
    """The rows of each slice, by the slice's name.

    Args:
      signals: n rows.
      records: their classes and attributes, in any order; other rows may be among them.
      by: of "label", "correct" (is the likeliest class of the plain image the true one?) and the attributes' names.

    Returns:
      name -> bool[n], such as "label=cat", "correct=yes", "tint=dark". A row whose value is unknown is in none of that
      attribute's slices.
    """
    check_slices(by, records)
    order = np.argsort(records.ids)
    rows = order[np.searchsorted(records.ids, signals.ids, sorter=order).clip(max=len(order) - 1)]
    if (records.ids[rows] != signals.ids).any():
        raise UserError(f"slices: id {signals.ids[records.ids[rows] != signals.ids][0]!r} is not among the records")
    masks: dict[str, np.ndarray] = {}
    for name in by:
        if name == CORRECT:
            right = signals.probabilities.argmax(axis=1) == signals.labels
            masks |= {f"{CORRECT}=yes": right, f"{CORRECT}=no": ~right}
        else:
            codes = records.column(name)[rows]
            masks |= {f"{name}={value}": codes == code for code, value in enumerate(records.spec(name).values)}
    return masks


def paired_slices(
    members: Mapping[str, np.ndarray], nonmembers: Mapping[str, np.ndarray], least_rows: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The slices with at least so many rows on both sides: name -> (bool[n1], bool[n0])."""
    return {
        name: (mask, nonmembers[name])
        for name, mask in members.items()
        if min(np.count_nonzero(mask), np.count_nonzero(nonmembers[name])) >= least_rows
    }


def check_slices(by: Sequence[str], records: Records) -> None:
    """Raises `UserError` unless every name is "label", "correct" or an attribute of the records."""
    known = ["label", CORRECT, *(spec.name for spec in records.specs)]
    for name in by:
        if name not in known:
            raise UserError(f"slices: unknown {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
