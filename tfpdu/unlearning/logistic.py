"""Multinomial logistic regression with L2 in float64: values, derivatives, the exact minimiser, and bounds that hold.

A row is z = (x, y) with norm(x) <= R and y in 0..K-1; w in R^(K x p), d = K p, are the weights, p(w, x) = softmax(w x).

    l(w, z) = -ln p(w, x)_y                                the data term
    f(w, z) = l(w, z) + (lambda/2) norm(w)^2               the loss of one row
    F(w)    = mean of f(w, z) over the rows                what is minimised

Bounds, for every w, with norms of w as of a vector in R^d:

- *Gradient.* grad l = (p - e_y) x^T, and norm(p - e_y)^2 = (1 - p_y)^2 + sum_{k != y} p_k^2 <= 2 (1 - p_y)^2 <= 2.
  So norm(grad l) <= G = sqrt(2) R, approached where the model is surely wrong.
- *Strong convexity.* Hess f = (diag(p) - p p^T) kron (x x^T) + lambda I >= lambda I.
- *Hessian-Lipschitz.* The third derivative of log-sum-exp in direction a is the third central moment of the variable
  that is a_k with probability p_k. With norm(a) = 1 its range is at most sqrt(2); a variable of range r has a third
  central moment of at most r^3 sqrt(3)/18, that of two points with probabilities 1/2 +- 1/(2 sqrt(3)). A symmetric
  trilinear form is largest at three equal arguments (Banach, 1938), so the Hessian in the logits is Lipschitz with 2
  sqrt(2) sqrt(3)/18 = sqrt(6)/9; logits move by at most R times the weights, and x x^T adds R^2. The regulariser's
  Hessian is constant. So M = (sqrt(6)/9) R^3, and no smaller constant holds: two classes a_1 = -a_2 attain it.

The regulariser's own gradient, lambda w, has no bound over all w. It needs none: see `displacement`.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import linalg, special

from tfpdu.common import UserError

HESSIAN_LIPSCHITZ = math.sqrt(6) / 9  # of log-sum-exp, in the Euclidean norm
MOST_PARAMETERS = 12_000  # the Hessian takes d^2 numbers: 1.2 GB
MOST_STEPS = 200


class Rows(NamedTuple):
    """The rows of a problem: float64[n, p] features of norm at most R, and int64[n] labels in 0..K-1."""

    features: np.ndarray
    labels: np.ndarray


def lipschitz(radius: float) -> float:
    """G, the largest norm of a row's gradient of the data term, for features of norm at most `radius`."""
    return math.sqrt(2) * radius


def hessian_lipschitz(radius: float) -> float:
    """M, the Lipschitz constant of the Hessian of f, for features of norm at most `radius`."""
    return HESSIAN_LIPSCHITZ * radius**3


def displacement(n: int, m: int, gradient_bound: float, strong_convexity: float) -> float:
    """How far the minimiser can move when m of n rows leave: 2 m G / (lambda n), with G of the *data term* alone.

    Let g_z = grad l(w, z) at the minimiser w of all rows S, where lambda w = -(1/n) sum_S g_z. At that w the mean loss
    of the rows that stay has the gradient

        -(1/(n-m)) sum_U (g_z + lambda w) = -(1/(n-m)) [(1 - m/n) sum_U g_z - (m/n) sum_{S without U} g_z],

    of norm at most (1/(n-m)) * 2 m G (n-m) / n = 2 m G / n, and its minimiser is at most that norm over lambda away.
    Sekhari et al. (2021) get the same from L-Lipschitz f; here the unbounded regulariser has cancelled out.

    Returns:
      A Euclidean distance in weights.
    """
    return 2 * m * gradient_bound / (strong_convexity * n)


def loss(weights: np.ndarray, rows: Rows, strong_convexity: float) -> float:
    """F(w) in nats, at weights float64[K, p]."""
    logits = rows.features @ weights.T  # [n, K]
    own = np.take_along_axis(logits, rows.labels[:, None], axis=1)[:, 0]
    data = np.mean(special.logsumexp(logits, axis=1) - own)
    return float(data + strong_convexity / 2 * np.vdot(weights, weights))


def gradient(weights: np.ndarray, rows: Rows, strong_convexity: float) -> np.ndarray:
    """grad F(w), float64[K, p]."""
    wrong = special.softmax(rows.features @ weights.T, axis=1)  # [n, K]
    wrong[np.arange(len(wrong)), rows.labels] -= 1
    return wrong.T @ rows.features / len(wrong) + strong_convexity * weights


def hessian(weights: np.ndarray, rows: Rows, strong_convexity: float) -> np.ndarray:
    """Hess F(w), float64[K p, K p], in the order of `weights.ravel()`."""
    classes, width = weights.shape
    p = special.softmax(rows.features @ weights.T, axis=1)  # [n, K]
    blocks = np.empty((classes, width, classes, width))
    for k in range(classes):
        for j in range(k + 1):
            curvature = p[:, k] * ((k == j) - p[:, j]) / len(p)  # [n]
            blocks[k, :, j, :] = rows.features.T @ (curvature[:, None] * rows.features)
            blocks[j, :, k, :] = blocks[k, :, j, :].T
    whole = blocks.reshape(weights.size, weights.size)
    whole[np.diag_indices_from(whole)] += strong_convexity
    return whole


def newton_step(weights: np.ndarray, slope: np.ndarray, curvature: np.ndarray, residual: float) -> np.ndarray:
    """w - H^-1 g, of a positive definite H, solved until norm(H s - g) <= `residual`.

    Where the loss is quadratic this is its minimiser, wherever it starts.

    Args:
      weights: float64 of any shape, d numbers.
      slope: g, of the same shape.
      curvature: H, float64[d, d].
      residual: above 0; in units of the gradient.

    Raises:
      UserError: H is too ill-conditioned for that residual in float64.
    """
    target = slope.ravel()
    try:
        factor = linalg.cho_factor(curvature, lower=True)
    except linalg.LinAlgError:
        raise UserError("head: the Hessian is not positive definite; raise strong_convexity") from None
    step = np.zeros_like(target)
    for _ in range(4):  # refinement: each turn takes off what rounding left
        left = target - curvature @ step
        if np.linalg.norm(left) <= residual:
            return weights - step.reshape(weights.shape)
        step += linalg.cho_solve(factor, left)
    if np.linalg.norm(target - curvature @ step) > residual:
        raise UserError(f"head: a residual of {residual:g} is out of float64's reach here; raise it")
    return weights - step.reshape(weights.shape)


def minimiser(
    rows: Rows, classes: int, strong_convexity: float, residual: float, start: np.ndarray | None = None
) -> np.ndarray:
    """Weights with norm(grad F(w)) <= `residual`, so at most residual / lambda from the minimiser.

    Newton's method with backtracking.

    Args:
      rows: at least one.
      classes: K; a class without rows is allowed.
      strong_convexity: lambda, above 0.
      residual: above 0, in units of the gradient.
      start: float64[K, p]; zeros by default.

    Returns:
      float64[K, p]; the start itself where it is good enough.

    Raises:
      UserError: more weights than a Hessian is kept for, or a residual that float64 cannot reach.
    """
    weights = np.zeros((classes, rows.features.shape[1])) if start is None else start
    if weights.size > MOST_PARAMETERS:
        raise UserError(
            f"head: {classes} classes x {weights.shape[1]} features are {weights.size} weights, at most "
            f"{MOST_PARAMETERS} are possible; project the features to fewer dimensions"
        )
    value = loss(weights, rows, strong_convexity)
    for _ in range(MOST_STEPS):
        slope = gradient(weights, rows, strong_convexity)
        if np.linalg.norm(slope) <= residual:
            return weights
        curvature = hessian(weights, rows, strong_convexity)
        # A direction needs no more accuracy than the gradient it takes away.
        target = newton_step(weights, slope, curvature, max(residual / 2, 1e-6 * float(np.linalg.norm(slope))))
        weights, value = _backtracked(weights, target, value, slope, rows, strong_convexity)
    raise UserError(f"head: no gradient below {residual:g} in {MOST_STEPS} Newton steps; raise residual or distance")


def _backtracked(
    weights: np.ndarray, target: np.ndarray, value: float, slope: np.ndarray, rows: Rows, strong_convexity: float
) -> tuple[np.ndarray, float]:
    """The first of the whole, half, ... step that lowers the loss enough (Armijo) or, near the end, the gradient."""
    descent, norm = float(np.vdot(slope, target - weights)), np.linalg.norm(slope)
    share = 1.0
    while True:
        trial = weights + share * (target - weights)
        lower = loss(trial, rows, strong_convexity)
        # Close to the minimum the loss no longer changes in float64, but the gradient does.
        if lower <= value + 0.25 * share * descent or (
            np.linalg.norm(gradient(trial, rows, strong_convexity)) < 0.5 * norm
        ):
            return trial, lower
        if share < 1e-9:
            return target, loss(target, rows, strong_convexity)
        share /= 2
