"""The suite for estimation-of-distribution algorithms."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tfpdu.bias.eda.categorical import all_rows
from tfpdu.testing.refusal import refuses


def check_eda(cls: Callable[[], Any]) -> None:
    """Checks an estimation-of-distribution algorithm: `fit`, `sample`, `log_prob`, `optimise` as `tfpdu.bias.UMDA` has.

    Args:
      cls: makes an unfitted model when called without arguments.
    """
    cardinalities = (2, 3, 4)
    rows = np.random.default_rng(7).integers(0, cardinalities, (400, 3))
    rows[:, 1] = np.minimum(rows[:, 0] + rows[:, 1] // 2, 2)  # not uniform, not independent
    model = cls()
    assert model.fit(rows, cardinalities) is model, "fit must return the model itself"
    _check_distribution(cls, rows, cardinalities)
    _check_samples(model, cardinalities)
    _check_search(cls)
    for wrong in (
        np.zeros((0, 3), int),
        np.full((2, 3), -1),
        np.full((2, 3), 2),
        np.zeros((2, 2), int),
        np.zeros((2, 3)),
    ):
        refused = refuses(functools.partial(cls().fit, wrong, cardinalities))
        assert refused, f"fit must refuse {wrong.dtype} rows {wrong.tolist()}"
    assert refuses(lambda: cls().sample(1, 0)), "sample before fit must raise UserError"


def _check_distribution(cls: Callable[[], Any], rows: np.ndarray, cardinalities: tuple[int, ...]) -> None:
    every = all_rows(cardinalities)
    model = cls().fit(rows, cardinalities)
    p = np.exp(model.log_prob(every))
    assert abs(p.sum() - 1) < 1e-9, f"probabilities of all rows must sum to 1, got {p.sum()}"
    for i, K in enumerate(cardinalities):
        shares = np.bincount(rows[:, i], minlength=K) / len(rows)
        marginal = np.bincount(every[:, i], p, K)
        assert np.allclose(marginal, shares, atol=1e-9), f"marginal {i} is {marginal}, the data's is {shares}"
    shuffled = cls().fit(rows[::-1], cardinalities)
    assert np.array_equal(model.log_prob(every), shuffled.log_prob(every)), "fit must not depend on the rows' order"
    constant = cls().fit(np.zeros((5, 3), int), cardinalities)
    assert constant.log_prob(np.zeros((1, 3), int))[0] == 0.0, "constant rows must have probability 1"
    assert constant.log_prob(np.ones((1, 3), int))[0] == -np.inf, "an impossible row must have log-probability -inf"


def _check_samples(model: Any, cardinalities: tuple[int, ...]) -> None:
    n = 20_000
    drawn = model.sample(n, 3)
    assert drawn.shape == (n, len(cardinalities)), f"sample has shape {drawn.shape}"
    assert np.issubdtype(drawn.dtype, np.integer), f"sample has dtype {drawn.dtype}"
    assert np.array_equal(drawn, model.sample(n, 3)), "the same seed must give the same sample"
    assert not np.array_equal(drawn, model.sample(n, 4)), "another seed must give another sample"
    p = np.exp(model.log_prob(all_rows(cardinalities)))
    counts = np.bincount(np.ravel_multi_index(tuple(drawn.T), cardinalities), minlength=len(p))
    # Five standard deviations of a binomial share: about one in a million by chance, and the seed is fixed.
    off = np.abs(counts / n - p) - 5 * np.sqrt(p * (1 - p) / n) - 1e-12
    assert np.all(off <= 0), f"sampled shares differ from exp(log_prob) by up to {np.max(off):.4f} beyond chance"


def _check_search(cls: Callable[[], Any]) -> None:
    def fitness(rows: np.ndarray) -> np.ndarray:
        return rows.sum(axis=1).astype(float)

    search = cls().optimise(fitness, (2, 3, 2, 3), seed=5, target=6.0)
    assert search.fitness == 6.0, f"a sum over four variables must reach its best, 6, got {search.fitness}"
    assert search.best.tolist() == [1, 2, 1, 2], f"best row is {search.best.tolist()}"
    again = cls().optimise(fitness, (2, 3, 2, 3), seed=5, target=6.0)
    assert again.evaluations == search.evaluations, "the same seed must give the same search"
    start = np.random.default_rng(1).integers(0, 2, (200, 2))
    model = cls()
    model.optimise(fitness, (2, 2), seed=0, start=start, evaluations=200)
    p = np.exp(model.log_prob(all_rows((2, 2))))
    assert p[3] > p[0], "one generation from given rows must lean towards the fitter ones"
    assert refuses(lambda: cls().optimise(lambda rows: np.full(len(rows), np.nan), (2, 2), seed=0)), "NaN fitness"
