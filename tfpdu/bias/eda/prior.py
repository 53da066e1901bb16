"""D = EDA(S): a prior that leans towards the cells a stated fitness asks for (the paper's Algorithm 1, line 2)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tfpdu.bias.divergence import smoothed
from tfpdu.bias.eda.categorical import Fitness, all_rows
from tfpdu.bias.eda.cga import CGA
from tfpdu.bias.eda.mimic import MIMIC
from tfpdu.bias.eda.umda import UMDA
from tfpdu.bias.priors import Constraint, Prior, Variables, cells_of, check, names_of, shape_of
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import in_range, one_of, positive
from tfpdu.data.records import Records

EDAS: Mapping[str, Callable[[], UMDA | MIMIC | CGA]] = {"umda": UMDA, "mimic": MIMIC, "cga": CGA}


def eda_prior(
    records: Records,
    over: Sequence[Variables],
    fitness: Sequence[np.ndarray | Fitness] | None,
    *,
    eda: str = "umda",
    generations: int = 1,
    weight: float = 0.5,
    seed: int = 0,
) -> Prior:
    """D = (1 - weight) P + weight EDA(S), with S the first population and the fitness of a row the need of its cell.

    Without a fitness an EDA selects nothing and gives back the data's own distribution, D = P, so that KL = 0
    and there is nothing to mend: then this raises. Run to the end, on the other hand, an EDA puts all mass on the
    neediest cell. One generation and half the weight lean towards need and bound the additions: no cell falls under
    (1 - weight) P, so the table grows at most by the factor 1 / (1 - weight). Cells without a row get none of D.

    Args:
      records: S; rows with an unknown value in an entry of `over` are left out of its population.
      over: one constraint an entry: a variable, or several jointly.
      fitness: for each entry the need per cell, [K1, K2, ...] or flat (for example `need_of_cells`), or a function
        of rows int64[n, variables] that gives float[n]; larger needs more.
      eda: "umda", "mimic" or "cga".
      generations: how often S is drawn and selected (for cGA: n / 2 tournaments each).
      weight: share of EDA(S) in D, in [0, 1].
      seed: of the draws.

    Raises:
      UserError: no fitness, one of the wrong size, or an unknown algorithm.
    """
    if fitness is None:
        raise UserError("prior.kind='eda' needs a fitness: without one D = EDA(S) = P, so KL = 0 and nothing is mended")
    one_of(EDAS, eda=eda)
    in_range(0, 1, weight=weight)
    positive(generations=generations)
    if len(fitness) != len(over):
        raise UserError(f"prior: {len(fitness)} fitness tables for {len(over)} constraints")
    constraints = []
    for variables, need in zip(over, fitness, strict=True):
        names, shape = names_of(variables), shape_of(records, variables)
        cells = cells_of(records, names)
        known = np.flatnonzero(cells >= 0)
        known = known[hashed_order(records.ids[known].tolist(), seed, "eda")]  # ties are broken by id, not by place
        population = np.stack(np.unravel_index(cells[known], shape), axis=1)
        model = EDAS[eda]()
        function = _by_cell(need, shape, names)
        model.optimise(function, shape, seed=seed, evaluations=generations * len(population), start=population)
        P = smoothed(np.bincount(cells[known], minlength=int(np.prod(shape))))
        D = np.where(P > 0, np.exp(model.log_prob(all_rows(shape))), 0.0)
        D = (1 - weight) * P + weight * D / D.sum()
        constraints.append(Constraint(names, D.reshape(shape)))
    prior = Prior(tuple(constraints))
    check(prior, records)
    return prior


def need_of_cells(records: Records, wrong: np.ndarray, variables: Variables, smoothing: float = 1.0) -> np.ndarray:
    """The need of each cell: the error rate of a classifier there, drawn towards the mean where rows are few.

    Args:
      records: rows that did not train the classifier (the auxiliary pool).
      wrong: bool[n], the rows that it gets wrong.
      variables: what makes a cell.
      smoothing: pseudo-rows of the mean error in each cell.

    Returns:
      float64[K1, K2, ...] in [0, 1].
    """
    shape = shape_of(records, variables)
    cells = cells_of(records, names_of(variables))
    known, size = cells >= 0, int(np.prod(shape))
    errors = np.bincount(cells[known], np.asarray(wrong, np.float64)[known], size)
    rows = np.bincount(cells[known], minlength=size)
    mean = float(np.mean(wrong)) if len(wrong) else 0.0
    return ((errors + smoothing * mean) / np.maximum(rows + smoothing, 1e-12)).reshape(shape)


def _by_cell(need: np.ndarray | Fitness, shape: Sequence[int], names: tuple[str, ...]) -> Fitness:
    if callable(need):
        return need
    table = np.asarray(need, np.float64)
    if table.size != np.prod(shape) or not np.all(np.isfinite(table)):
        raise UserError(f"prior of {' x '.join(names)}: expected a finite fitness of shape {list(shape)}")
    table = table.reshape(shape)
    return lambda rows: table[tuple(rows.T)]
