"""How many rows of which cell to add: the least number in closed form, or an integer programme over joint cells."""

import dataclasses
import heapq
import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, sparse

from tfpdu.bias.divergence import kl_divergence
from tfpdu.bias.priors import Prior, cells_of
from tfpdu.common.errors import UserError
from tfpdu.common.validation import distribution
from tfpdu.data.records import Records

_MOST_CELLS = 20_000  # beyond this the integer programme would take minutes


def least_additions(counts: Sequence[int] | np.ndarray, prior: Sequence[float] | np.ndarray) -> np.ndarray:
    """The least additions that bring counts to a prior: m = max_v n P(v) / D(v) - n rows in all, rounded up.

    2959:2041 against 1/2:1/2 needs [0, 918]. Where the prior's shares of n + m are not whole, the rows are
    dealt so that KL(D || P) is the least that whole rows permit.

    Args:
      counts: int[K], rows per value.
      prior: D, probabilities [K].

    Returns:
      int64[K], rows to add per value.

    Raises:
      UserError: D gives nothing to a value that has rows, which no addition can mend; or shapes differ.
    """
    c, D = np.asarray(counts, np.float64), np.asarray(prior, np.float64)
    distribution(prior=D)
    if c.shape != D.shape or np.any(c < 0) or not np.all(c == np.round(c)):
        raise UserError(f"least_additions: expected {D.size} whole numbers of at least 0, got {c.ravel().tolist()}")
    return fill(c, D, _least_total(c, D, "the prior"))


def fill(counts: np.ndarray, prior: np.ndarray, m: int, most: np.ndarray | None = None) -> np.ndarray:
    """Deals m rows to cells so that KL(D || P) afterwards is the least possible.

    KL is separable and convex in the counts, so giving each row to the cell where it lowers KL most is optimal
    (Gross 1956). Ties go to the larger prior, then to the lower index.

    Args:
      counts: float64[K], rows that are there.
      prior: D, float64[K].
      m: rows to add.
      most: the most rows that a cell can take, [K], or None.

    Returns:
      int64[K], summing to m (to less only where `most` forbids it).
    """
    x, D = np.asarray(counts, np.float64).tolist(), np.asarray(prior, np.float64).tolist()
    room = [m] * len(D) if most is None else [int(value) for value in most]
    added = np.zeros(len(D), np.int64)

    def entry(v: int) -> tuple[float, float, int]:
        gain = math.inf if x[v] <= 0 else D[v] * math.log1p(1 / x[v])
        return (-gain, -D[v], v)

    heap = [entry(v) for v in range(len(D)) if D[v] > 0 and room[v] > 0]
    heapq.heapify(heap)
    for _ in range(m):
        if not heap:
            break
        v = heap[0][2]
        x[v] += 1
        added[v] += 1
        if added[v] < room[v]:
            heapq.heapreplace(heap, entry(v))
        else:
            heapq.heappop(heap)
    return added


@dataclasses.dataclass(frozen=True, eq=False)
class Margin:
    """One constraint, seen from the joint cells of all variables.

    Attributes:
      name: the constraint's name.
      member: int64[cells], the constraint's value that each joint cell belongs to.
      counts: float64[K], rows (with smoothing) per value.
      prior: D, float64[K].
    """

    name: str
    member: np.ndarray
    counts: np.ndarray
    prior: np.ndarray

    def after(self, additions: np.ndarray) -> np.ndarray:
        """P after the additions [cells], float64[K]."""
        counts = self.counts + np.bincount(self.member, additions, len(self.prior))
        return counts / counts.sum()


@dataclasses.dataclass(frozen=True, eq=False)
class Demand:
    """A table and a prior, as counts: what Algorithm 1 has to balance.

    Attributes:
      margins: one per constraint.
      joint: float64[cells], rows per joint cell of all the prior's variables (rows with an unknown left out).
      open: bool[cells], cells to which rows may be added.
    """

    margins: tuple[Margin, ...]
    joint: np.ndarray
    open: np.ndarray

    def kls(self, additions: np.ndarray) -> np.ndarray:
        """The partial biases after the additions [cells], float64[constraints]."""
        return np.array([kl_divergence(margin.prior, margin.after(additions)) for margin in self.margins])

    def bias(self, additions: np.ndarray) -> float:
        """B(S, D) := sum of KL in nats after the additions [cells]."""
        return float(self.kls(additions).sum())


def demand_of(records: Records, prior: Prior, smoothing: float = 0.0, allow_empty_cells: bool = False) -> Demand:
    """Counts a table for a prior. `smoothing` pseudo-rows a value enter every count."""
    shape = prior.shape(records)
    cells = int(np.prod(shape))
    if cells > _MOST_CELLS:
        raise UserError(f"prior: {prior.joint_name} has {cells} cells, expected at most {_MOST_CELLS}")
    codes = dict(zip(prior.variables, np.unravel_index(np.arange(cells), shape), strict=True))
    margins = []
    for constraint in prior.constraints:
        D = constraint.probabilities
        member = np.ravel_multi_index([codes[variable] for variable in constraint.variables], D.shape)
        margins.append(Margin(constraint.name, member, constraint.counts(records) + smoothing, D.ravel()))
    rows = cells_of(records, prior.variables)
    joint = np.bincount(rows[rows >= 0], minlength=cells).astype(np.float64)
    return Demand(tuple(margins), joint, np.full(cells, True) if allow_empty_cells else joint > 0)


def allocate(demand: Demand, m: int) -> np.ndarray:
    """Deals exactly m rows to the joint cells, as close to the prior as whole rows permit. Returns int64[cells].

    With one constraint the result is the optimum in KL (`fill`): refilling what was removed from a table of fixed
    size never raises the bias. With several it is the optimum of the summed absolute distances, and among
    those the one nearest to the data's own association between the variables.
    """
    if len(demand.margins) == 1:
        margin = demand.margins[0]
        added = fill(margin.counts, margin.prior, m, np.where(demand.open, m, 0))
    else:
        added = _programme(demand, m)
    if added.sum() != m:
        raise UserError(f"prior of {demand.margins[0].name}: no cell that may take {m} more rows")
    return added


def meet(demand: Demand, rho: float, max_growth: float = math.inf) -> np.ndarray:
    """The least additions with which the table meets the prior and B(S, D) < rho. Returns int64[cells].

    The total is the exact real solution rounded up, then one row more at a time while rounding to whole rows
    keeps B at rho or above (7 rows cannot be fair to two values; 8 can).

    Args:
      demand: the counts and the prior.
      rho: the threshold on B(S, D), nats.
      max_growth: the most additions, in multiples of the rows that are there.

    Raises:
      UserError: no additions meet all constraints; or more than `max_growth` allows; or rho is below what
        whole rows attain, which it names.
    """
    first = _least_of(demand)
    there = max(margin.counts.sum() for margin in demand.margins)
    if first > max_growth * there:
        raise UserError(
            f"prior: meeting it takes {first} more rows beside {there:g}, over max_growth={max_growth:g} times as many;"
            " make the prior milder for rare values"
        )
    rows = there + first
    best, best_m = math.inf, first
    for m in range(first, first + max(100, int(rows) // 20) + 1):
        added = allocate(demand, m)
        bias = demand.bias(added)
        if bias < rho:
            return added
        if bias < best:
            best, best_m = bias, m
    names = ", ".join(margin.name for margin in demand.margins)
    raise UserError(
        f"prior of {names}: in whole rows the bias falls to {best:.2g} nats (with {best_m} added), not under"
        f" rho={rho:g}; set rho above it, or round the prior"
    )


def _least_of(demand: Demand) -> int:
    if len(demand.margins) == 1:
        return _least_total(demand.margins[0].counts, demand.margins[0].prior, f"prior of {demand.margins[0].name}")
    # Unknowns: a per cell and their sum M. n_v + a_v = D(v) (n + M) for every value of every constraint.
    belongs, counts, prior, sizes = _stacked(demand)
    cells = len(demand.joint)
    rows = sparse.vstack(
        [
            sparse.hstack([belongs, sparse.csr_matrix(-prior[:, None])]),
            sparse.hstack([sparse.csr_matrix(np.ones((1, cells))), sparse.csr_matrix([[-1.0]])]),
        ]
    )
    right = np.append(prior * sizes - counts, 0.0)
    bounds = [(0, None if is_open else 0) for is_open in demand.open] + [(0, None)]
    result = optimize.linprog(np.append(np.zeros(cells), 1.0), A_eq=rows, b_eq=right, bounds=bounds, method="highs")
    if result.status == 2:
        names = ", ".join(margin.name for margin in demand.margins)
        raise UserError(
            f"prior: no additions meet {names} together: they contradict each other, give 0 to a value that has rows,"
            " or need cells without rows (allow_empty_cells=True asks for those)"
        )
    if result.status != 0:
        raise RuntimeError(f"linear programme for the additions: {result.message}")
    return max(math.ceil(result.fun - 1e-6), 0)


def _least_total(counts: np.ndarray, prior: np.ndarray, name: str) -> int:
    impossible = np.flatnonzero((prior == 0) & (counts > 0))
    if impossible.size:
        v = impossible[0]
        raise UserError(f"{name}: value {v} has probability 0 and {counts[v]:g} rows; adding rows cannot meet it")
    wished = np.max(counts[prior > 0] / prior[prior > 0])
    return max(math.ceil(wished * (1 - 1e-12) - counts.sum() - 1e-9), 0)


def _stacked(demand: Demand) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray, np.ndarray]:
    """All constraints' values under each other: membership [values, cells], counts, priors and table sizes [values]."""
    cells = np.arange(len(demand.joint))
    belongs = [
        sparse.csr_matrix((np.ones(len(cells)), (margin.member, cells)), shape=(len(margin.prior), len(cells)))
        for margin in demand.margins
    ]
    counts, prior = (np.concatenate([getattr(margin, f) for margin in demand.margins]) for f in ("counts", "prior"))
    sizes = np.concatenate([np.full(len(margin.prior), margin.counts.sum()) for margin in demand.margins])
    return sparse.vstack(belongs).tocsr(), counts, prior, sizes


def _programme(demand: Demand, m: int) -> np.ndarray:
    """min sum |A a - b| + tiny * sum |joint + a - ideal| over whole a >= 0 with sum a = m (mixed-integer, HiGHS)."""
    cells = len(demand.joint)
    A, counts, prior, sizes = _stacked(demand)
    b = prior * (sizes + m) - counts
    values = len(b)
    tiny = 1 / (4 * cells)
    ideal = _nearest(demand, m) - demand.joint
    Z = sparse.csr_matrix
    eye_v, eye_c = sparse.eye(values), sparse.eye(cells)
    rows = sparse.vstack(
        [
            sparse.hstack([A, -eye_v, Z((values, cells))]),
            sparse.hstack([-A, -eye_v, Z((values, cells))]),
            sparse.hstack([eye_c, Z((cells, values)), -eye_c]),
            sparse.hstack([-eye_c, Z((cells, values)), -eye_c]),
            sparse.hstack([Z(np.ones((1, cells))), Z((1, values + cells))]),
        ]
    ).tocsc()
    upper = np.concatenate([b, -b, ideal, -ideal, [m]])
    lower = np.concatenate([np.full(2 * values + 2 * cells, -np.inf), [m]])
    result = optimize.milp(
        np.concatenate([np.zeros(cells), np.ones(values), np.full(cells, tiny)]),
        integrality=np.concatenate([np.ones(cells), np.zeros(values + cells)]),
        bounds=optimize.Bounds(0, np.concatenate([np.where(demand.open, m, 0), np.full(values + cells, np.inf)])),
        constraints=optimize.LinearConstraint(rows, lower, upper),
    )
    if result.x is None:
        raise UserError(f"prior: no cell that may take {m} more rows")
    return np.round(result.x[:cells]).astype(np.int64)


def _nearest(demand: Demand, m: int) -> np.ndarray:
    """The joint with the priors' margins that is nearest to the data's (iterative proportional fitting), as rows."""
    table = np.where(demand.open & (demand.joint == 0), 0.5, demand.joint)
    for _ in range(200):
        for margin in demand.margins:
            sums = np.bincount(margin.member, table, len(margin.prior))
            table = table * (margin.prior / np.maximum(sums, 1e-300))[margin.member]
    return table / max(table.sum(), 1e-300) * (demand.joint.sum() + m)
