"""Data bias as the paper's Definition 2: the Kullback-Leibler divergence of a table from a stated prior, in nats."""

from collections.abc import Sequence

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.validation import distribution


def kl_divergence(prior: Sequence[float] | np.ndarray, posterior: Sequence[float] | np.ndarray) -> float:
    """Partial bias KL(D || P) of one attribute (the paper, Definition 2).

    Args:
      prior: D, probabilities [K] (a joint of any shape [K1, K2, ...] is taken cell by cell).
      posterior: P, probabilities of the same shape: the data set's distribution.

    Returns:
      Nats, in [0, inf]; infinite where P(v) = 0 < D(v), 0 only if both are equal.

    Raises:
      UserError: shapes differ, or one of the two is no distribution.
    """
    D, P = np.asarray(prior, np.float64), np.asarray(posterior, np.float64)
    if D.shape != P.shape:
        raise UserError(f"kl_divergence: prior has shape {list(D.shape)}, posterior {list(P.shape)}")
    distribution(prior=D.ravel(), posterior=P.ravel())
    D, P = D[D > 0], P[D > 0]
    if np.any(P == 0):
        return float("inf")
    return max(float(np.sum(D * np.log(D / P))), 0.0)  # rounding can give -1e-17


def total_bias(kls: Sequence[float] | np.ndarray) -> float:
    """The paper's total loss L-hat = 1/2 sum_i KL_i^2 over the partial biases [j], in nats squared."""
    return float(0.5 * np.sum(np.square(np.asarray(kls, np.float64))))


def smoothed(counts: Sequence[float] | np.ndarray, alpha: float = 0.0) -> np.ndarray:
    """The empirical distribution (c_v + alpha) / (n + alpha K) of counts of any shape.

    Args:
      counts: rows (or weight) per value, at least 0.
      alpha: pseudo-rows added to every value (Laplace: 1); 0 is the plain share.

    Raises:
      UserError: no rows to count and no smoothing either.
    """
    effective = np.asarray(counts, np.float64) + alpha
    total = effective.sum()
    if total <= 0:
        raise UserError("no rows with known values to take a distribution from")
    return effective / total
