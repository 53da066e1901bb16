"""The plain alternatives to synthetic rows: copies, fewer rows, or weights. Prior and table as for Algorithm 1."""

import dataclasses
import math
from typing import Any

import numpy as np

from tfpdu.bias.additions import Demand, fill
from tfpdu.bias.priors import Prior, cells_of
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import hashed_order
from tfpdu.data.records import Records
from tfpdu.data.storage import pick

COPY = "copy/"  # before the id of a copied row


def copy_id(iteration: int, number: int, source: str) -> str:
    """The id of a copied row, e.g. 'copy/00/000017/cifar10/train/3'; it names its source."""
    return f"{COPY}{iteration:02d}/{number:06d}/{source}"


def source_id(row_id: str) -> str:
    """The id of the row that a copy was made from; any other id is its own source."""
    return row_id.split("/", 3)[3] if row_id.startswith(COPY) else row_id


def with_copies(records: Records, ids: list[str]) -> list[str]:
    """The ids and those of all their copies in the table: what has to be unlearned together."""
    sources = {source_id(row_id) for row_id in ids}
    return [row_id for row_id in records.ids.tolist() if source_id(row_id) in sources]


def rows_to_copy(records: Records, prior: Prior, additions: np.ndarray, seed: int, iteration: int) -> np.ndarray:
    """The originals to copy for each cell's additions [cells]. Returns row numbers int64[sum].

    A cell's originals are copied in hashed order, each once before any twice. Copies are never copied.
    """
    cells = cells_of(records, prior.variables)
    source = np.array([not row_id.startswith(COPY) for row_id in records.ids.tolist()], bool) & records.is_original
    chosen = []
    for cell in np.flatnonzero(additions):
        rows = np.flatnonzero((cells == cell) & source)
        if not rows.size:
            raise UserError(
                f"augment: method 'oversample' has no original to copy in cell {cell} of {prior.joint_name}"
            )
        rows = rows[hashed_order(records.ids[rows].tolist(), seed, "oversample", iteration)]
        chosen.append(np.resize(rows, additions[cell]))
    return np.concatenate(chosen) if chosen else np.zeros(0, np.int64)


def copies(records: Records, rows: np.ndarray, iteration: int, first: int = 0) -> Records:
    """Copies of rows under new ids.

    A copy holds an original's data: it stays an original (origin 0), keeps its source's subject, and has to be
    unlearned with its source (`with_copies`).
    """
    fields = ("images", "labels", "attributes", "origin", "subjects", "generator", "realised")
    columns: dict[str, Any] = {field: getattr(records, field) for field in fields}
    columns = {field: None if column is None else pick(column, rows) for field, column in columns.items()}
    columns["ids"] = [copy_id(iteration, first + k, source) for k, source in enumerate(records.ids[rows].tolist())]
    columns["ids"] = np.array(columns["ids"], dtype=str)
    return dataclasses.replace(records, **columns)


def rows_to_keep(records: Records, prior: Prior, demand: Demand, rho: float, seed: int) -> np.ndarray:
    """The most rows whose distribution meets the prior with B < rho. Returns bool[n].

    Within a cell the rows of the lowest hashes stay. Rows with an unknown value are left out of P, and stay.

    Raises:
      UserError: several constraints; or no number of whole rows meets the prior closer than rho.
    """
    if len(demand.margins) != 1:
        raise UserError("augment: method 'undersample' takes one constraint (make it a joint), or use 'reweigh'")
    margin = demand.margins[0]
    kept = _most_rows(demand.joint.astype(np.int64), margin.prior, margin.name, rho)
    cells = cells_of(records, prior.variables)
    keep = cells < 0
    for cell, count in enumerate(kept):
        rows = np.flatnonzero(cells == cell)
        keep[rows[hashed_order(records.ids[rows].tolist(), seed, "undersample")][:count]] = True
    return keep


def row_weights(records: Records, prior: Prior) -> np.ndarray:
    """Weights that bring the weighted distribution to the prior. Returns float64[n] with mean 1.

    One constraint: D(v) / P(v) (Kamiran & Calders 2012). Several: raking, that is each in turn until none moves
    (Deming & Stephan 1940). A row whose value is unknown keeps the weight it has.

    Raises:
      UserError: raking does not settle, since the constraints contradict each other in this table.
    """
    weights = np.ones(len(records))
    margins = [(c.cells(records), c.probabilities.ravel()) for c in prior.constraints]
    for _ in range(1000):
        moved = 0.0
        for cells, D in margins:
            known = cells >= 0
            sums = np.bincount(cells[known], weights[known], len(D))
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(sums > 0, D * sums.sum() / sums, 1.0)
            if np.any((sums == 0) & (D > 0)):
                raise UserError(f"prior of {prior.joint_name}: a cell with probability above 0 has no row to weigh")
            weights[known] *= factor[cells[known]]
            moved = max(moved, float(np.abs(factor - 1).max()))
        if moved < 1e-12:
            break
    else:
        if moved > 1e-6:
            raise UserError(f"prior of {prior.joint_name}: no weights of the rows meet all constraints together")
    return weights / weights.mean()


def _most_rows(counts: np.ndarray, D: np.ndarray, name: str, rho: float) -> np.ndarray:
    most = math.floor(np.min(counts[D > 0] / D[D > 0]) * (1 + 1e-12))
    best = math.inf
    for total in range(most, max(most - max(100, most // 20), 0), -1):
        kept = fill(np.zeros(len(D)), D, total, counts)
        P = kept / total
        with np.errstate(divide="ignore", invalid="ignore"):
            bias = float(np.sum(np.where(D > 0, D * np.log(D / P), 0.0)))
        if bias < rho:
            return kept
        best = min(best, bias)
    raise UserError(
        f"prior of {name}: dropping rows brings the bias to {best:.2g} nats, not under rho={rho:g};"
        " set rho above it, or use another method"
    )
