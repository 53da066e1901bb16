"""What the three algorithms share: tables of codes, drawing from distributions, and the record of a search."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from tfpdu.common.errors import UserError

Fitness = Callable[[np.ndarray], np.ndarray]  # rows int64[n, j] -> float[n], larger is better


@dataclasses.dataclass(frozen=True, eq=False)
class Search:
    """How an optimisation went.

    Attributes:
      best: the best row seen, int64[j].
      fitness: its fitness.
      evaluations: rows whose fitness was asked for.
      evaluations_to_best: of these, how many until the best was seen first.
    """

    best: np.ndarray
    fitness: float
    evaluations: int
    evaluations_to_best: int


def checked_rows(rows: np.ndarray, cardinalities: Sequence[int]) -> np.ndarray:
    """The rows as int64[n, j]; raises `UserError` unless every code v of column i is in 0..cardinalities[i]-1."""
    table = np.asarray(rows)
    sizes = [int(size) for size in cardinalities]
    if not sizes or min(sizes) < 1:
        raise UserError(f"eda: expected cardinalities of at least 1, got {sizes}")
    if table.ndim != 2 or table.shape[1] != len(sizes) or not np.issubdtype(table.dtype, np.integer):
        raise UserError(f"eda: expected rows int[n, {len(sizes)}], got {table.dtype}{list(table.shape)}")
    wrong = np.argwhere((table < 0) | (table >= np.array(sizes)))
    if wrong.size:
        n, i = wrong[0]
        raise UserError(f"eda: row {n} has code {table[n, i]} in column {i}, expected 0 to {sizes[i] - 1}")
    return table.astype(np.int64)


def fitting_rows(rows: np.ndarray, cardinalities: Sequence[int]) -> np.ndarray:
    """`checked_rows`, of which there must be at least one."""
    table = checked_rows(rows, cardinalities)
    if not len(table):
        raise UserError("eda: no rows to fit")
    return table


def fitness_of(fitness: Fitness, rows: np.ndarray) -> np.ndarray:
    """float64[n], checked to be finite."""
    values = np.asarray(fitness(rows), np.float64)
    if values.shape != (len(rows),) or not np.all(np.isfinite(values)):
        raise UserError(f"eda: the fitness must give {len(rows)} finite numbers, got shape {list(values.shape)}")
    return values


def shares(column: np.ndarray, cardinality: int, alpha: float) -> np.ndarray:
    """(c_v + alpha) / (n + alpha K) of a column of codes, float64[K]."""
    counts = np.bincount(column, minlength=cardinality) + alpha
    return counts / counts.sum()


def with_margin(p: np.ndarray, margin: float) -> np.ndarray:
    """No probability under `margin`: two values are clamped, more are mixed with the uniform. p: float64[..., K].

    A margin above 1/K means uniform.
    """
    K = p.shape[-1]
    margin = min(margin, 1 / K)
    return np.clip(p, margin, 1 - margin) if K == 2 else (1 - K * margin) * p + margin


def draw(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Codes int64[n] from distributions p float64[K] or [n, K], by inverting u float64[n] in [0, 1)."""
    edges = np.cumsum(p, axis=-1)
    edges = edges / edges[..., -1:]
    return np.sum(u[:, None] >= edges, axis=-1).astype(np.int64)


def best_first(values: np.ndarray) -> np.ndarray:
    """Row numbers by falling fitness, ties by index."""
    return np.argsort(-values, kind="stable")


def all_rows(cardinalities: Sequence[int]) -> np.ndarray:
    """Every possible row, int64[K1 * K2 * ..., j], row-major."""
    return np.array(list(itertools.product(*map(range, cardinalities))), np.int64).reshape(-1, len(cardinalities))


def log_prob_of_columns(table: np.ndarray, probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """log p(row) in nats of independent columns, float64[n], for int64[n, j] and a distribution a column."""
    return np.sum([log(p)[table[:, i]] for i, p in enumerate(probabilities)], axis=0)


def log(p: np.ndarray) -> np.ndarray:
    """Natural logarithm with log 0 = -inf, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(p)
