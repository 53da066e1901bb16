"""A membership auditor that is solved exactly, so that one can differentiate through what it will find.

Logistic regression on few features, balanced between members and strangers, with a ridge: smooth and strongly convex,
so its optimum is unique and, by the implicit function theorem, a smooth function of the features.
"""

from typing import Any

import tensorflow as tf

NEWTON_STEPS = 12


def auditor_gain(features: Any, members: Any, training: Any, ridge: float) -> Any:
    """How much better the auditor guesses on rows it was not fitted on than by a coin, in nats: log 2 - its mean loss.

    Its derivative in the features is total: that the auditor answers to them is part of it.

    Args:
      features: float [b, k], k of at most about a dozen.
      members: [b], 1 = member, 0 = stranger; both must occur in both halves, or the result is 0.
      training: [b], 1 = the auditor is fitted on this row, 0 = it is measured on it.
      ridge: of the auditor, times the squared norm of its slopes and intercept, over 2; above 0.

    Returns:
      A float64 scalar, at most log 2.
    """
    s, y, t = (tf.cast(x, tf.float64) for x in (features, members, training))
    fitting, measuring = _balanced(y, t), _balanced(y, 1 - t)
    x = _standardised(s, fitting)
    auditor = solve_auditor(x, y, fitting, ridge)
    scores = tf.linalg.matvec(x, auditor)  # [b]
    gain = tf.math.log(tf.constant(2.0, tf.float64)) - tf.reduce_sum(measuring * _losses(scores, y))
    halves = [tf.reduce_sum(w * m) for w in (fitting, measuring) for m in (y, 1 - y)]
    return tf.where(tf.reduce_min(tf.stack(halves)) > 0, gain, tf.zeros_like(gain))


def solve_auditor(x: Any, y: Any, weights: Any, ridge: float) -> Any:
    """The minimum a* of J(a) = sum of weights * logistic loss + ridge/2 * ||a||^2, differentiable in x: float64[k].

    Newton's method, then one more step from a* in which only the gradient is differentiated: its value is a*, its
    derivative -(d2J/da2)^-1 d2J/(da dx), the implicit function theorem's.
    """
    fixed = tf.stop_gradient(x)
    a = tf.zeros([x.shape[1]], tf.float64)
    for _ in range(NEWTON_STEPS):
        a = a - tf.linalg.solve(_hessian(a, fixed, weights, ridge), _slope(a, fixed, y, weights, ridge)[:, None])[:, 0]
    a = tf.stop_gradient(a)
    inverse = tf.stop_gradient(tf.linalg.inv(_hessian(a, fixed, weights, ridge)))
    return a - tf.linalg.matvec(inverse, _slope(a, x, y, weights, ridge))


def _slope(a: Any, x: Any, y: Any, weights: Any, ridge: float) -> Any:
    """dJ/da, [k]."""
    return tf.linalg.matvec(x, weights * (tf.sigmoid(tf.linalg.matvec(x, a)) - y), transpose_a=True) + ridge * a


def _hessian(a: Any, x: Any, weights: Any, ridge: float) -> Any:
    """d2J/da2, [k, k]."""
    p = tf.sigmoid(tf.linalg.matvec(x, a))
    return tf.matmul(x * (weights * p * (1 - p))[:, None], x, transpose_a=True) + ridge * tf.eye(
        x.shape[1], dtype=x.dtype
    )


def _losses(scores: Any, y: Any) -> Any:
    return tf.nn.sigmoid_cross_entropy_with_logits(y, scores)


def _balanced(y: Any, within: Any) -> Any:
    """Weights [b] of the rows within: members and strangers half each, whatever their numbers."""
    shares = [side / tf.maximum(tf.reduce_sum(side), 1.0) for side in (within * y, within * (1 - y))]
    return (shares[0] + shares[1]) / 2


def _standardised(s: Any, weights: Any) -> Any:
    """Features of mean 0 and deviation 1 under the weights, and a column of ones for the intercept: [b, k + 1]."""
    mean = tf.reduce_sum(weights[:, None] * s, axis=0)
    variance = tf.reduce_sum(weights[:, None] * (s - mean) ** 2, axis=0)
    scaled = (s - mean) * tf.math.rsqrt(variance + 1e-6)
    return tf.concat([scaled, tf.ones_like(s[:, :1])], axis=1)
