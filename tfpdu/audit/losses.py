"""What an attack computes from a model's answers: losses, entropies and their moments, in float64.

References:
  [1] Yu, Zhang, Chen, Yin, Liu. How does data augmentation affect privacy in machine learning? AAAI 2021.
  [2] Song, Mittal. Systematic evaluation of privacy risks of machine learning models. USENIX Security 2021.
"""

from typing import Any

import numpy as np
from scipy import special

from tfpdu.common.errors import UserError

_TINY = np.finfo(np.float64).tiny
_SUM_TOLERANCE = 1e-3  # float16 answers of 1,000 classes still sum to 1 within this


def cross_entropy(probabilities: Any, labels: Any) -> np.ndarray:
    """Cross-entropy of the true class in nats, float64[n], from probabilities.

    Computed as log1p(the other classes' mass / the true class's), so that a loss of 1e-18 is not rounded to 0 and rows
    that sum to 1 only nearly are scaled. A probability of 0 counts as the smallest normal float: 708 nats.

    Args:
      probabilities: [n, C], rows summing to 1 within 1e-3.
      labels: int[n] in 0..C-1.
    """
    p, y = checked(probabilities, labels)
    rows = np.arange(len(y))
    own = p[rows, y]
    others = p.copy()
    others[rows, y] = 0
    return np.log1p(others.sum(1) / np.maximum(own, _TINY))


def cross_entropy_from_logits(logits: Any, labels: Any) -> np.ndarray:
    """Cross-entropy of the true class in nats, float64[n], from logits.

    log(1 + sum of exp(z_j - z_y) over the other classes j), by log-sum-exp: neither overflow nor, for a well-fitted
    row, the rounding to 0 that "logsumexp(z) - z_y" suffers.

    Args:
      logits: [n, C], finite.
      labels: int[n] in 0..C-1.
    """
    z = np.asarray(logits, np.float64)
    y = _checked_labels(labels, z)
    if not np.isfinite(z).all():
        raise UserError(f"logits: row {int(np.argwhere(~np.isfinite(z))[0][0])} has a NaN or an infinity")
    rows = np.arange(len(y))
    gaps = z - z[rows, y][:, None]  # [n, C]
    gaps[rows, y] = -np.inf
    return np.logaddexp(0.0, special.logsumexp(gaps, axis=1))


def root_moments(losses: Any, orders: int = 20) -> np.ndarray:
    """The k-th root of the k-th raw moment of each row's losses, k = 1..orders [1, the released code].

    Power means: permutation-invariant, non-decreasing in k, between the mean and the maximum, of the losses' own scale.
    The maximum is factored out first; a plain mean(loss**20) underflows to 0 for losses under 1e-16.

    Args:
      losses: [n, N], finite and at least 0; N queries of each row.
      orders: K, at least 1.

    Returns:
      float64[n, K].
    """
    array = np.asarray(losses, np.float64)
    if array.ndim != 2 or not array.shape[1]:
        raise UserError(f"losses: expected [n, N] with N of at least 1, got shape {list(array.shape)}")
    if not np.isfinite(array).all() or (array < 0).any():
        raise UserError("losses: expected finite numbers of at least 0")
    if orders < 1:
        raise UserError(f"orders: expected at least 1, got {orders}")
    largest = array.max(axis=1, keepdims=True)  # [n, 1]
    scaled = array / np.where(largest > 0, largest, 1.0)
    power, moments = np.ones_like(scaled), np.empty((len(array), orders))
    for k in range(1, orders + 1):
        power = power * scaled
        moments[:, k - 1] = power.mean(axis=1) ** (1 / k)
    return moments * largest


def entropy(probabilities: Any) -> np.ndarray:
    """Shannon entropy of each row in nats, float64[n]; 0 log 0 = 0."""
    p, _ = checked(probabilities, np.zeros(len(probabilities), np.int64))
    return special.entr(p).sum(axis=1)


def modified_entropy(probabilities: Any, labels: Any) -> np.ndarray:
    """-(1 - p_y) log p_y - sum over j != y of p_j log(1 - p_j), float64[n] [2, eq. 8].

    0 for a certain and right answer, large for a certain and wrong one; logarithms are floored at 1e-30 as in [2].

    Args:
      probabilities: [n, C], rows summing to 1 within 1e-3.
      labels: int[n] in 0..C-1.
    """
    p, y = checked(probabilities, labels)
    rows = np.arange(len(y))
    own = p[rows, y]
    terms = -p * np.log(np.maximum(1 - p, 1e-30))  # [n, C]
    terms[rows, y] = -(1 - own) * np.log(np.maximum(own, 1e-30))
    return terms.sum(axis=1)


def checked(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """(float64[n, C], int64[n]), or a `UserError` that names the first bad row."""
    p = np.asarray(probabilities, np.float64)
    y = _checked_labels(labels, p)
    if not np.isfinite(p).all():
        raise UserError(f"probabilities: row {int(np.argwhere(~np.isfinite(p))[0][0])} has a NaN or an infinity")
    off = (p < 0).any(axis=1) | (np.abs(p.sum(axis=1) - 1) > _SUM_TOLERANCE)
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise UserError(f"probabilities: row {row} is no distribution (sum {p[row].sum():.6g}); are these logits?")
    return p, y


def _checked_labels(labels: Any, table: np.ndarray) -> np.ndarray:
    y = np.asarray(labels)
    if table.ndim != 2 or y.shape != (len(table),):
        raise UserError(f"labels: expected one per row of [n, C], got {list(y.shape)} for {list(table.shape)}")
    if y.size and (y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= table.shape[1]):
        raise UserError(f"labels: expected whole numbers from 0 to {table.shape[1] - 1}")
    return y.astype(np.int64)
