"""Sizes that fit the data at hand, each by a stated rule, and whether the data are enough for a generator."""

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np

from tfpdu.bias.additions import demand_of, meet
from tfpdu.bias.priors import cells_of, given_prior, uniform_prior
from tfpdu.common.errors import UserError
from tfpdu.data import DrawSettings, PoolSizes, Records, cut_pools, draw
from tfpdu.material import POOL_SEED
from tfpdu.own_data.inspection import Findings

GENERATOR_ROWS = 1000  # half of what the celeb_a preset's generator learns from, which passes its quality gate
MIN_CELL = 20  # as generator.min_cell: a cell of fewer rows is not conditioned on, since its rows would be copied
RARE = 5  # rows of S below which a value or cell is not multiplied: a few pictures would stand for a whole group
JOINT_CELLS = 12  # the most cells of the sensitive columns that are balanced as a joint
MOST_ROWS = 5000  # of S, which 2 cores learn in an hour or two
COPIES = 2.0  # oversampling adds at most so many times the rows; beyond that rows are weighed
RHOS = (1e-6, 1e-3, 1e-2)  # the shares of a few hundred rows are known to 1e-2 nats; unequal ones are never met exactly
MAX_GROWTH = 10.0  # as augment.max_growth
STEPS = 500  # of the optimiser, a shard and training, that small sets get by more epochs
EPOCHS = (15, 40)
SMALL, LARGE = (0.45, 0.1, 0.15, 0.1, 0.2), (0.4, 0.1, 0.15, 0.15, 0.2)  # pools; a generator needs a judge


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the config says, beside the columns.

    Attributes:
      pools: shares of private, non_members_calibration, non_members_evaluation, auxiliary and test.
      rows: |S|.
      over: the prior's constraints.
      given: their probabilities, row-major, where rare values keep their share; empty: uniform.
      rare: names of the values or cells that keep their share.
      additions: rows that bring S to the prior; 0 with method "reweigh".
      rho: what the bias is to fall below, nats.
      method: "diffusion", "oversample" or "reweigh".
      reason: why, in a sentence.
      epochs: passes over a shard.
      audit_rows: a role.
      cells: {values of label and sensitive columns: (rows in all, rows in S)}; no unknown ones.
    """

    pools: tuple[float, ...]
    rows: int
    over: tuple[tuple[str, ...], ...]
    given: tuple[tuple[float, ...], ...]
    rare: tuple[str, ...]
    additions: int
    rho: float
    method: str
    reason: str
    epochs: int
    audit_rows: int
    cells: dict[tuple[str, ...], tuple[int, int]]


def choose(findings: Findings) -> Choices:
    """Sizes for these data.

    A generator is proposed where S has at least `GENERATOR_ROWS` rows and each cell of label and sensitive values that
    occurs has at least `MIN_CELL` of them; else copies of rows, or weights where copies would swamp the table.

    Raises:
      UserError: too few rows for pools, or no variable with two values that can be balanced.
    """
    records = findings.records
    pools = LARGE if LARGE[0] * len(records) >= GENERATOR_ROWS else SMALL
    cut = cut_pools(records, pool_sizes(pools), POOL_SEED)
    rows = min(len(cut.private), MOST_ROWS)
    drawn = draw(cut.private, DrawSettings(rows), 0)
    names = [column.name for column in findings.columns.sensitive]
    over, given, rare = _prior(drawn, names)
    cells = _cells(records, drawn, names)
    additions, rho = _additions(drawn, over, given)
    method, reason = _method(rows, cells, additions)
    added = 0 if method == "reweigh" or additions is None else additions
    epochs = int(np.clip(STEPS * 2 * 32 / (rows + added), *EPOCHS))
    return Choices(
        pools=pools,
        rows=rows,
        over=over,
        given=given,
        rare=rare,
        additions=added,
        rho=rho,
        method=method,
        reason=reason,
        epochs=epochs,
        audit_rows=min(500, len(cut.non_members_evaluation)),
        cells=cells,
    )


def pool_sizes(shares: Sequence[float]) -> PoolSizes:
    """The pools of `Choices.pools`."""
    private, calibration, evaluation, auxiliary, test = shares
    return PoolSizes(private, calibration, evaluation, auxiliary, 0.0, test)


def _prior(
    drawn: Records, names: Sequence[str]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[float, ...], ...], tuple[str, ...]]:
    """Constraints, their probabilities where not all are equal, and what is too rare to be multiplied."""
    joint = tuple(names)
    counts = _counts(drawn, joint)
    over = (joint,) if len(counts) <= JOINT_CELLS and counts.min() >= RARE else tuple((name,) for name in names)
    tables, rare = [], []
    for entry in over:
        counts = _counts(drawn, entry)
        few = counts < RARE
        if (~few).sum() < 2:
            at = ", ".join(f"{v}: {c}" for v, c in zip(drawn.spec(entry[0]).values, counts, strict=True))
            raise UserError(
                f"--sensitive={entry[0]}: of {len(drawn)} rows to learn from fewer than two values have {RARE} or more"
                f" ({at}); collect more of the others, or join groups"
            )
        share = counts / counts.sum()
        share[~few] = (1 - share[few].sum()) / (~few).sum()
        tables.append(tuple(share.tolist()))
        rare += [f"{entry[0]}={drawn.spec(entry[0]).values[k]}" for k in np.flatnonzero(few)]
    return over, tuple(tables) if rare else (), tuple(rare)


def _counts(records: Records, names: Sequence[str]) -> np.ndarray:
    """int64[cells], row-major."""
    cells = cells_of(records, names)
    return np.bincount(cells[cells >= 0], minlength=int(np.prod([records.spec(n).cardinality for n in names])))


def _cells(records: Records, drawn: Records, names: Sequence[str]) -> dict[tuple[str, ...], tuple[int, int]]:
    variables = ["label", *names]
    shape = [records.spec(name).cardinality for name in variables]
    pairs = zip(_counts(records, variables).tolist(), _counts(drawn, variables).tolist(), strict=True)
    return {
        tuple(
            records.spec(name).values[k] for name, k in zip(variables, np.unravel_index(cell, shape), strict=True)
        ): pair
        for cell, pair in enumerate(pairs)
    }


def _additions(
    drawn: Records, over: tuple[tuple[str, ...], ...], given: tuple[tuple[float, ...], ...]
) -> tuple[int | None, float]:
    """Rows that Algorithm 1 adds, None where it would refuse to, and the least rho of `RHOS` that whole rows permit."""
    prior = given_prior(drawn, over, given) if given else uniform_prior(drawn, over)
    demand = demand_of(drawn, prior)
    for rho in RHOS:
        with contextlib.suppress(UserError):
            return int(meet(demand, rho, MAX_GROWTH).sum()), rho
    return None, RHOS[-1]


def _method(rows: int, cells: dict[tuple[str, ...], tuple[int, int]], additions: int | None) -> tuple[str, str]:
    counts = {cell: count for cell, (_, count) in cells.items() if count}
    smallest = min(counts, key=lambda cell: counts[cell])
    enough = rows >= GENERATOR_ROWS and counts[smallest] >= MIN_CELL
    if enough and additions is not None:
        return "diffusion", f"{rows} rows, and at least {counts[smallest]} in each cell, are enough for a generator"
    few = f"{rows} rows to learn from, a generator wants {GENERATOR_ROWS}"
    if rows >= GENERATOR_ROWS:
        few = f"({', '.join(smallest)}) has {counts[smallest]} rows to learn from, a generator wants {MIN_CELL} a cell"
    if additions is None or additions > COPIES * rows:
        return "reweigh", f"{few}; copies would be more than {COPIES:g} times the rows"
    return "oversample", few
