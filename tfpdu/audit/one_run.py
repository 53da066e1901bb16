"""A lower bound on epsilon from one training run with randomly included canaries.

Reference:
  [1] Steinke, Nasr, Jagielski. Privacy auditing with one (1) training run. 2023, arXiv 2305.08846.
"""

import numpy as np
from scipy import special

from tfpdu.common.errors import UserError


def one_run_p_value(m: int, r: int, v: int, epsilon: float, delta: float = 0.0) -> float:
    """Probability that an (epsilon, delta)-DP run lets an auditor be right at least this often [1, theorem 5.2].

    Args:
      m: canaries, each included by its own fair coin before training.
      r: guesses made, at most m; how many "in" and "out" was fixed in advance or on other data.
      v: correct guesses, at most r.
      epsilon: at least 0.
      delta: in [0, 1].
    """
    _check(m, r, v, delta)
    if not epsilon >= 0:
        raise UserError(f"one_run: epsilon must be at least 0, got {epsilon}")
    q = float(special.expit(epsilon))
    beta = _at_least(np.array([v]), r, q)[0]
    if delta == 0 or v == 0:
        return float(min(1.0, beta))
    i = np.arange(1, v + 1)
    between = _at_least(v - i, r, q) - beta  # P[v > Bin(r, q) >= v - i]
    return float(min(1.0, beta + 2 * m * delta * np.max(between / i)))


def one_run_epsilon(m: int, r: int, v: int, delta: float = 0.0, confidence: float = 0.95) -> float:
    """The largest epsilon that the guesses refute with this confidence, at least 0.

    It bounds the training algorithm's epsilon from below; a small value is no certificate of safety. Even r right
    guesses out of r give no more than logit((1 - confidence)**(1/r)).

    Args:
      m: canaries, each included by its own fair coin before training.
      r: guesses made, at most m; a choice of r (or of the split in "in" and "out") that looked at the outcome voids it.
      v: correct guesses.
      delta: in [0, 1].
      confidence: in (0, 1).

    >>> round(one_run_epsilon(1000, 100, 75, 1e-4, 0.95), 3)
    0.673
    """
    _check(m, r, v, delta)
    if not 0 < confidence < 1:
        raise UserError(f"confidence: expected a number between 0 and 1, got {confidence}")
    surprising = 1 - confidence
    if one_run_p_value(m, r, v, 0.0, delta) >= surprising:
        return 0.0
    low, high = 0.0, 1.0
    while one_run_p_value(m, r, v, high, delta) < surprising:
        low, high = high, 2 * high
    while high - low > 1e-12 * max(1.0, high):
        middle = (low + high) / 2
        refuted = one_run_p_value(m, r, v, middle, delta) < surprising
        low, high = (middle, high) if refuted else (low, middle)
    return low


def _at_least(k: np.ndarray, trials: int, q: float) -> np.ndarray:
    """P[Bin(trials, q) >= k] for whole k of at least 0."""
    return np.where(k <= 0, 1.0, special.betainc(np.maximum(k, 1), trials - np.maximum(k, 1) + 1, q))


def _check(m: int, r: int, v: int, delta: float) -> None:
    if not 0 <= v <= r <= m or r < 1:
        raise UserError(f"one_run: expected 0 <= v <= r <= m and r >= 1, got v={v}, r={r}, m={m}")
    if not 0 <= delta <= 1:
        raise UserError(f"one_run: delta must lie in [0, 1], got {delta}")
