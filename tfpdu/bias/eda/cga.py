"""cGA, the compact genetic algorithm: a population as a vector of probabilities (Harik, Lobo & Goldberg 1999)."""

import math
from collections.abc import Sequence

import numpy as np

from tfpdu.bias.eda.categorical import Fitness, Search, checked_rows, fitness_of, fitting_rows, log_prob_of_columns
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import rng
from tfpdu.common.validation import in_range


class CGA:
    """p(x) = prod_i p_i(x_i), moved 1/K a step from the loser's values to the winner's.

    Probabilities are whole numbers of a unit 1 / (K lcm(cardinalities)), so that the uniform start is exact, 0 and 1
    are reached exactly, and each distribution always sums to 1.

    Args:
      units: K, the size of the population that the vector stands for; by default the number of rows that it is
        fitted to or starts from, otherwise about sqrt(j) log j.
      margin: the least probability of any value; 0 lets values die out.
      tournament: rows drawn a step; the best is set against each of the others.
    """

    def __init__(self, units: int | None = None, margin: float = 0.0, tournament: int = 2):
        in_range(0, 1, margin=margin)
        if (units is not None and units < 1) or tournament < 2:
            raise UserError(f"CGA: expected units of at least 1 and a tournament of 2, got {units} and {tournament}")
        self.units, self.margin, self.tournament = units, margin, tournament
        self.cardinalities: tuple[int, ...] = ()
        self._step = self._total = 0  # 1/K and 1, in units
        self._q = np.zeros((0, 0), np.int64)  # [j, max K_i], in units; 0 beyond K_i

    @property
    def probabilities(self) -> list[np.ndarray]:
        """float64[K_i] per variable."""
        return [self._q[i, :K] / self._total for i, K in enumerate(self._fitted())]

    def fit(self, rows: np.ndarray, cardinalities: Sequence[int]) -> "CGA":
        """Sets the vector to the marginals of rows int[n, j], to the nearest unit. Returns the model itself."""
        table = fitting_rows(rows, cardinalities)
        self.start(cardinalities, self.units or len(table))
        for i, K in enumerate(self.cardinalities):
            self._q[i, :K] = _nearest(np.bincount(table[:, i], minlength=K), self._total, self._floor(K))
        return self

    def start(self, cardinalities: Sequence[int], units: int) -> None:
        """Sets every variable to uniform, in `units`."""
        self.cardinalities = tuple(int(K) for K in cardinalities)
        self._step = math.lcm(*self.cardinalities)
        self._total = units * self._step
        self._q = np.zeros((len(self.cardinalities), max(self.cardinalities)), np.int64)
        for i, K in enumerate(self.cardinalities):
            self._q[i, :K] = self._total // K

    def step(self, winner: np.ndarray, loser: np.ndarray) -> None:
        """Moves 1/K, or what is left above the margin, from the loser's to the winner's value where they differ.

        Args:
          winner: int[j].
          loser: int[j].
        """
        i = np.flatnonzero(winner != loser)
        floor = np.array([self._floor(K) for K in self.cardinalities], np.int64)[i]
        moved = np.minimum(self._step, np.maximum(self._q[i, loser[i]] - floor, 0))
        self._q[i, loser[i]] -= moved
        self._q[i, winner[i]] += moved

    def sample(self, n: int, seed: int) -> np.ndarray:
        """n rows of the model, int64[n, j]; the same for the same seed."""
        self._fitted()
        return self._draw(n, rng("cga", seed))

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
        """Tournaments until every variable is decided, `target` is seen or the budget is spent.

        In a tie the row drawn first wins. With `start` the vector begins at those rows' marginals; the other
        arguments are `tfpdu.bias.UMDA.optimise`'s.
        """
        if start is not None:
            self.fit(start, cardinalities)
        else:
            j = max(len(cardinalities), 2)
            self.start(cardinalities, self.units or math.ceil(4 * math.sqrt(j) * math.log(j)))
        generator = rng("cga search", seed)
        spent, best, best_fitness, spent_to_best = 0, self._draw(1, generator)[0], -np.inf, 0
        while spent + self.tournament <= evaluations:
            rows = self._draw(self.tournament, generator)
            values = fitness_of(fitness, rows)
            winner = int(np.argmax(values))  # the first of equals
            spent += self.tournament
            if values[winner] > best_fitness:
                best, best_fitness, spent_to_best = rows[winner], float(values[winner]), spent
            for loser in range(self.tournament):
                if loser != winner:
                    self.step(rows[winner], rows[loser])
            decided = np.all(self._q.max(axis=1) == self._total)
            if decided or (target is not None and best_fitness >= target):
                break
        return Search(best, best_fitness, spent, spent_to_best)

    def _draw(self, n: int, generator: np.random.Generator) -> np.ndarray:
        u = generator.integers(0, self._total, (n, len(self.cardinalities)))
        edges = np.cumsum(self._q, axis=1)  # [j, K]
        return np.sum(u[:, :, None] >= edges, axis=2).astype(np.int64)

    def _floor(self, K: int) -> int:
        return min(math.ceil(self.margin * self._total), self._total // K)

    def _fitted(self) -> tuple[int, ...]:
        if not self.cardinalities:
            raise UserError("CGA: fit it before sampling or asking for probabilities")
        return self.cardinalities


def _nearest(counts: np.ndarray, total: int, floor: int) -> np.ndarray:
    """Whole units in proportion to counts, at least `floor` each: floors, then the largest remainders."""
    spare = total - floor * len(counts)
    wished = counts / counts.sum() * spare
    q = np.floor(wished + 1e-9).astype(np.int64)
    q[np.argsort(q - wished, kind="stable")[: spare - q.sum()]] += 1
    return q + floor
