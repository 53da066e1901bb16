"""A lower bound on epsilon from one training run with randomly included canaries.

Reference:
  [1] Steinke, Nasr, Jagielski. Privacy auditing with one (1) training run. 2023, arXiv 2305.08846.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.statistics import scores as as_scores
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import id_hashes, rng
from tfpdu.common.validation import in_range

GRID = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def coin_flips(ids: Sequence[str], seed: int) -> np.ndarray:
    """bool[n], whether each canary is trained on: a fair coin by a hash of (seed, id) alone.

    To be flipped when the data set is cut, before anything is trained; no other row or decision takes part.
    """
    return id_hashes(ids, seed, "one-run coin") % np.uint64(2) == 1


@dataclasses.dataclass(frozen=True)
class Guesses:
    """How many canaries an auditor guesses about, fixed before it sees those it is counted on.

    Attributes:
      share_in: share of the canaries, those with the highest scores, of which it says "trained on".
      share_out: share, those with the lowest, of which it says "not trained on". It abstains on the rest.
    """

    share_in: float
    share_out: float

    def __post_init__(self) -> None:
        in_range(0, 1, share_in=self.share_in, share_out=self.share_out)
        if self.share_in + self.share_out > 1 + 1e-9:
            raise UserError(f"guesses: shares {self.share_in} and {self.share_out} are more than all canaries")

    def counts(self, m: int) -> tuple[int, int]:
        """How many of m canaries are guessed in, and out."""
        return int(self.share_in * m + 1e-9), int(self.share_out * m + 1e-9)


@dataclasses.dataclass(frozen=True)
class OneRunAudit:
    """What one trained model says about its training algorithm.

    Attributes:
      epsilon: with the confidence asked for, the algorithm is not (epsilon', delta)-private for any epsilon' below
        this; 0 refutes nothing, and is no certificate.
      m: canaries.
      r: guesses.
      v: right ones.
      delta: as given.
      confidence: as given.
    """

    epsilon: float
    m: int
    r: int
    v: int
    delta: float
    confidence: float


def fix_guesses(
    scores: Any, included: Any, delta: float = 0.0, confidence: float = 0.95, grid: Sequence[float] = GRID
) -> Guesses:
    """The shares with the highest bound on calibration canaries; the first of equals, so the fewest guesses.

    The bound on these very canaries is too high, since the best of many is taken: use other ones for it.

    Args:
      scores: float[m], higher = trained on.
      included: bool[m], the coins.
      delta: as for the audit.
      confidence: as for the audit.
      grid: shares to try on either side.
    """
    best, found = Guesses(0.5, 0.5), 0.0
    for share_in, share_out in itertools.product(sorted(grid), repeat=2):
        if share_in + share_out <= 1:
            guesses = Guesses(share_in, share_out)
            if sum(guesses.counts(len(scores))):
                epsilon = one_run_audit(scores, included, guesses, delta, confidence).epsilon
                best, found = (guesses, epsilon) if epsilon > found else (best, found)
    return best


def one_run_audit(
    scores: Any, included: Any, guesses: Guesses, delta: float = 0.0, confidence: float = 0.95, seed: int = 0
) -> OneRunAudit:
    """Guesses by the scores of one model, and the lower bound on epsilon that the right ones give [1].

    Args:
      scores: float[m], an attack's scores of the canaries, higher = trained on; the attack must not have been fitted
        on these canaries' coins.
      included: bool[m], whether each canary was trained on, by `coin_flips`.
      guesses: fixed in advance, or by `fix_guesses` on other canaries.
      delta: in [0, 1].
      confidence: in (0, 1).
      seed: of the order among equal scores. Their order in the table must not count: canaries that were trained on
        often stand first in it.
    """
    values, truth = as_scores(scores, "canary scores"), np.asarray(included)
    if truth.shape != values.shape or truth.dtype != bool:
        raise UserError(f"one_run: expected included bool[{len(values)}], got {truth.dtype}{list(truth.shape)}")
    m = len(values)
    said_in, said_out = guesses.counts(m)
    if said_in + said_out < 1:
        raise UserError(f"one_run: {guesses} make no guess about {m} canaries")
    shuffled = rng(seed, "one-run ties").permutation(m)
    order = shuffled[np.argsort(values[shuffled], kind="stable")]  # lowest scores first
    right = int((~truth[order[:said_out]]).sum() + truth[order[m - said_in :]].sum())
    r = said_in + said_out
    return OneRunAudit(one_run_epsilon(m, r, right, delta, confidence), m, r, right, delta, confidence)


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
