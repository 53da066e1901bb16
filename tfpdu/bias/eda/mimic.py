"""MIMIC, mutual-information-maximising input clustering: a chain of pairs (De Bonet, Isbell & Viola 1997)."""

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
    log,
    shares,
    with_margin,
)
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import rng
from tfpdu.common.validation import in_range, non_negative


class MIMIC:
    """p(x) = p(x_o1) prod_k p(x_ok | x_o(k-1)), the order o greedy by conditional entropy.

    Args:
      alpha: pseudo-rows added to each value's count, in the first marginal and in every conditional.
      margin: the least probability of any value, in both.
      population: rows a generation of `optimise`.
      keep: share of a generation that lies at or above the threshold theta; 0.5 is the median.
      patience: generations without a rise of theta or of the best after which the search ends.
    """

    def __init__(
        self,
        alpha: float = 0.0,
        margin: float = 0.0,
        population: int = 400,
        keep: float = 0.5,
        patience: int = 10,
    ):
        non_negative(alpha=alpha)
        in_range(0, 1, margin=margin, keep=keep)
        self.alpha, self.margin, self.population, self.keep, self.patience = alpha, margin, population, keep, patience
        self.cardinalities: tuple[int, ...] = ()
        self.order: tuple[int, ...] = ()
        self.first = np.zeros(0)  # p(x_o1), float64[K_o1]
        self.conditionals: list[np.ndarray] = []  # p(x_ok | x_o(k-1)), float64[K_o(k-1), K_ok], k = 2..j

    def fit(self, rows: np.ndarray, cardinalities: Sequence[int]) -> "MIMIC":
        """Orders the chain and takes its conditionals from rows int[n, j]. Returns the model itself.

        A parent's value that never occurs has a uniform conditional.
        """
        table = fitting_rows(rows, cardinalities)
        self.cardinalities = tuple(int(K) for K in cardinalities)
        self.order = chain_order(table, self.cardinalities)
        head = self.order[0]
        self.first = with_margin(shares(table[:, head], self.cardinalities[head], self.alpha), self.margin)
        self.conditionals = [
            self._conditional(table, a, b) for a, b in zip(self.order[:-1], self.order[1:], strict=True)
        ]
        return self

    def sample(self, n: int, seed: int) -> np.ndarray:
        """n rows of the model, int64[n, j]; the same for the same seed."""
        u = rng("mimic", seed).random((n, len(self._fitted())))
        rows = np.zeros((n, len(self.order)), np.int64)
        rows[:, self.order[0]] = draw(self.first, u[:, 0])
        for k, conditional in enumerate(self.conditionals, 1):
            rows[:, self.order[k]] = draw(conditional[rows[:, self.order[k - 1]]], u[:, k])
        return rows

    def log_prob(self, rows: np.ndarray) -> np.ndarray:
        """log p(row) in nats, float64[n]; -inf where a value is impossible."""
        table = checked_rows(rows, self._fitted())
        total = log(self.first)[table[:, self.order[0]]]
        for a, b, conditional in zip(self.order[:-1], self.order[1:], self.conditionals, strict=True):
            total = total + log(conditional)[table[:, a], table[:, b]]
        return total

    def optimise(
        self,
        fitness: Fitness,
        cardinalities: Sequence[int],
        *,
        seed: int,
        evaluations: int = 20_000,
        target: float | None = None,
        start: np.ndarray | None = None,
    ) -> Search:
        """Draw, keep what reaches theta (the keep-share of the new rows), fit, and again.

        Where many rows tie at theta they are kept by index, so that exactly the share is kept: otherwise a fitness
        with two values would select nothing. The other arguments are `tfpdu.bias.UMDA.optimise`'s.
        """
        if start is None:
            generator = rng("mimic start", seed)
            rows = np.stack([generator.integers(0, K, self.population) for K in cardinalities], axis=1)
        else:
            rows = fitting_rows(start, cardinalities)
        spent, best, best_fitness, spent_to_best = 0, rows[0], -np.inf, 0
        theta, unmoved = -np.inf, 0
        while True:
            values = fitness_of(fitness, rows)
            order = best_first(values)
            kept = order[: max(1, int(self.keep * len(rows)))]
            spent += len(rows)
            unmoved = 0 if values[kept[-1]] > theta or values[order[0]] > best_fitness else unmoved + 1
            theta = max(theta, float(values[kept[-1]]))
            if values[order[0]] > best_fitness:
                best, best_fitness, spent_to_best = rows[order[0]], float(values[order[0]]), spent
            self.fit(rows[kept], cardinalities)
            reached = target is not None and best_fitness >= target
            if reached or unmoved >= self.patience or spent + len(rows) > evaluations:
                return Search(best, best_fitness, spent, spent_to_best)
            rows = self.sample(len(rows), rng("mimic generation", seed, spent).integers(2**62))

    def _conditional(self, table: np.ndarray, a: int, b: int) -> np.ndarray:
        counts = _pair_counts(table, a, b, self.cardinalities) + self.alpha
        counts = np.where(counts.sum(axis=1, keepdims=True) > 0, counts, 1.0)  # an unseen parent: uniform
        return with_margin(counts / counts.sum(axis=1, keepdims=True), self.margin)

    def _fitted(self) -> tuple[int, ...]:
        if not self.order:
            raise UserError("MIMIC: fit it before sampling or asking for probabilities")
        return self.cardinalities


def chain_order(rows: np.ndarray, cardinalities: Sequence[int]) -> tuple[int, ...]:
    """o_1 = argmin H(X_i), then o_k = argmin over the rest of H(X_i | X_o(k-1)); ties go to the lowest index."""
    j = len(cardinalities)
    single = [entropy(np.bincount(rows[:, i])) for i in range(j)]
    order = [int(np.argmin(np.round(single, 12)))]  # rounded: equal entropies must tie
    rest = [i for i in range(j) if i != order[0]]
    while rest:
        a = order[-1]
        conditional = [entropy(_pair_counts(rows, a, i, cardinalities)) - single[a] for i in rest]
        order.append(rest.pop(int(np.argmin(np.round(conditional, 12)))))
    return tuple(order)


def entropy(counts: np.ndarray) -> float:
    """Entropy in nats of the distribution that counts of any shape stand for."""
    p = counts[counts > 0] / counts.sum()
    return float(-np.sum(p * np.log(p)))


def _pair_counts(rows: np.ndarray, a: int, b: int, cardinalities: Sequence[int]) -> np.ndarray:
    shape = (cardinalities[a], cardinalities[b])
    flat = np.ravel_multi_index((rows[:, a], rows[:, b]), shape)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)
