"""UMDA, the univariate marginal distribution algorithm (Mühlenbein & Paaß 1996; Mühlenbein 1997)."""

from collections.abc import Sequence

import numpy as np

from tfpdu.bias.eda.categorical import (
    Fitness,
    Search,
    best_first,
    checked_rows,
    draw,
    fitness_of,
    fitting_rows,
    log_prob_of_columns,
    shares,
    with_margin,
)
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import rng
from tfpdu.common.validation import in_range, non_negative


class UMDA:
    """p(x) = prod_i p_i(x_i): independent categorical variables.

    Args:
      alpha: pseudo-rows added to each value's count.
      margin: the least probability of any value; 0 lets values die out.
      population: rows a generation of `optimise`.
      keep: share of a generation, by fitness, that the next model is fitted to.
    """

    def __init__(self, alpha: float = 0.0, margin: float = 0.0, population: int = 100, keep: float = 0.5):
        non_negative(alpha=alpha)
        in_range(0, 1, margin=margin, keep=keep)
        self.alpha, self.margin, self.population, self.keep = alpha, margin, population, keep
        self.cardinalities: tuple[int, ...] = ()
        self.probabilities: list[np.ndarray] = []  # float64[K_i] per variable

    def fit(self, rows: np.ndarray, cardinalities: Sequence[int]) -> "UMDA":
        """Takes the marginals of rows int[n, j] with codes under `cardinalities` [j]. Returns the model itself."""
        table = fitting_rows(rows, cardinalities)
        self.cardinalities = tuple(int(K) for K in cardinalities)
        self.probabilities = [
            with_margin(shares(table[:, i], K, self.alpha), self.margin) for i, K in enumerate(self.cardinalities)
        ]
        return self

    def sample(self, n: int, seed: int) -> np.ndarray:
        """n rows of the model, int64[n, j]; the same for the same seed."""
        u = rng("umda", seed).random((n, len(self._fitted())))
        return np.stack([draw(p, u[:, i]) for i, p in enumerate(self.probabilities)], axis=1)

    def log_prob(self, rows: np.ndarray) -> np.ndarray:
        """log p(row) in nats, float64[n]; -inf where a value is impossible."""
        return log_prob_of_columns(checked_rows(rows, self._fitted()), self.probabilities)

    def optimise(
        self,
        fitness: Fitness,
        cardinalities: Sequence[int],
        *,
        seed: int,
        evaluations: int = 10_000,
        target: float | None = None,
        start: np.ndarray | None = None,
    ) -> Search:
        """Draw, keep the best (truncation, ties by index), fit, and again; the model stays at the last fit.

        Args:
          fitness: of rows, larger is better.
          cardinalities: number of values of each variable.
          seed: of all draws.
          evaluations: budget; a generation that would begin beyond it is not drawn.
          target: stop once a row is this fit.
          start: the first population, int[n, j]; by default drawn uniformly.
        """
        if start is None:
            self.fit(np.zeros((1, len(cardinalities)), np.int64), cardinalities)
            self.probabilities = [np.full(K, 1 / K) for K in self.cardinalities]
            rows = self.sample(self.population, seed)
        else:
            rows = fitting_rows(start, cardinalities)
        spent, best, best_fitness, spent_to_best = 0, rows[0], -np.inf, 0
        while True:
            values = fitness_of(fitness, rows)
            order = best_first(values)
            if values[order[0]] > best_fitness:
                best, best_fitness, spent_to_best = rows[order[0]], float(values[order[0]]), spent + len(rows)
            spent += len(rows)
            self.fit(rows[order[: max(1, int(self.keep * len(rows)))]], cardinalities)
            reached = target is not None and best_fitness >= target
            settled = all(p.max() > 1 - 1e-12 for p in self.probabilities)
            if reached or settled or spent + len(rows) > evaluations:
                return Search(best, best_fitness, spent, spent_to_best)
            rows = self.sample(len(rows), rng("umda generation", seed, spent).integers(2**62))

    def _fitted(self) -> tuple[int, ...]:
        if not self.probabilities:
            raise UserError("UMDA: fit it before sampling or asking for probabilities")
        return self.cardinalities
