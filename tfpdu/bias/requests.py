"""What each new row should be: its label and attributes, given how many rows each cell of the prior gets."""

from collections.abc import Sequence

import numpy as np

from tfpdu.bias.additions import fill
from tfpdu.bias.priors import Prior, cells_of
from tfpdu.common.seeds import id_hashes
from tfpdu.data.records import UNKNOWN, Records


def plan(
    present: Records, prior: Prior, additions: np.ndarray, reference: Records, ids: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The requested label and attributes of each new row.

    Rows are numbered cell by cell. Labels follow P(label | cell) of `reference` by filling the deficits of `present`
    in whole rows, as closely as integers permit, not by independent draws. Where a cell has no row to learn from,
    the shares of the whole reference are used.

    Args:
      present: the table that the rows will join.
      prior: names the variables that make a cell.
      additions: int[cells].
      reference: the table that P(label | cell) and P(attributes | label, cell) are taken from.
      ids: the new rows' ids [m], m = additions.sum().
      seed: the run's seed.

    Returns:
      labels int32[m], attributes int8[m, j].
    """
    shape, names = prior.shape(reference), prior.variables
    here, there = cells_of(present, names), cells_of(reference, names)
    attributes = np.full((len(ids), len(reference.specs)), UNKNOWN, np.int8)
    labels = np.zeros(len(ids), np.int32)
    start = 0
    for cell in np.flatnonzero(additions):
        rows = slice(start, start + int(additions[cell]))
        start = rows.stop
        codes = dict(zip(names, np.unravel_index(cell, shape), strict=True))
        if "label" in codes:
            labels[rows] = codes["label"]
        else:
            labels[rows] = _labels(present.labels[here == cell], reference, there == cell, rows.stop - rows.start)
        for label in np.unique(labels[rows]):
            chosen = np.arange(rows.start, rows.stop)[labels[rows] == label]
            attributes[chosen] = _companions(reference, there == cell, int(label), [ids[k] for k in chosen], seed)
        for column, spec in enumerate(reference.specs):
            if spec.name in codes:
                attributes[rows, column] = codes[spec.name]
    return labels, attributes


def _labels(present: np.ndarray, reference: Records, inside: np.ndarray, m: int) -> np.ndarray:
    """m labels that bring `present` labels of a cell as close to P(label | cell) as whole rows permit."""
    source = reference.labels[inside] if inside.any() else reference.labels
    shares = np.bincount(source, minlength=reference.classes) / len(source)
    counts = np.bincount(present, minlength=reference.classes).astype(np.float64)
    return np.repeat(np.arange(reference.classes), fill(counts, shares, m))


def _companions(reference: Records, inside: np.ndarray, label: int, ids: list[str], seed: int) -> np.ndarray:
    """Attribute vectors int8[len(ids), j] of rows with this label in this cell, picked by the new rows' ids.

    Whole vectors are taken, so that attributes keep their association. Rows with all attributes known come first;
    a cell that never occurred with this label falls back to the label alone, and that to unknown.
    """
    with_label = reference.labels == label
    known = np.all(reference.attributes >= 0, axis=1)
    for candidates in (with_label & inside & known, with_label & inside, with_label & known, with_label):
        rows = np.flatnonzero(candidates)
        if rows.size:
            rows = rows[np.argsort(reference.ids[rows], kind="stable")]
            return reference.attributes[rows[id_hashes(ids, seed, "companions") % np.uint64(len(rows))]]
    return np.full((len(ids), len(reference.specs)), UNKNOWN, np.int8)
