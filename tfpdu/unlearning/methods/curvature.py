"""Second-order information: products with the curvature of the loss, and systems of equations in them.

References:
  [1] Schraudolph. Fast curvature matrix-vector products for second-order gradient descent. Neural Computation 2002.
  [2] Hestenes, Stiefel. Methods of conjugate gradients for solving linear systems. 1952.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.ensemble.networks import compiled_graph
from tfpdu.unlearning.methods.base import Examples
from tfpdu.unlearning.methods.descent import learning_weights

Vector = list[np.ndarray]  # one array for each weight


def curvature_product(
    model: keras.Model, rows: Examples, layers: Sequence[Any] | None = None, batch: int = 128
) -> Callable[[Vector], Vector]:
    """The map v -> G v, G the Gauss-Newton matrix of the mean cross-entropy over the rows [1], in evaluation mode.

    G = mean of J' (diag(p) - p p') J, J the logits' derivative: never negative, and the Hessian itself where the logits
    are linear in the weights. Labels do not enter.

    Args:
      model: images to logits.
      rows: to average over.
      layers: whose weights; by default all.
      batch: rows at once.
    """
    weights = learning_weights(model, layers)
    signature = [tf.TensorSpec((None, *rows.images.shape[1:]), tf.float32), [tf.TensorSpec(w.shape) for w in weights]]
    compiled = compiled_graph(signature, _product, model, weights)

    def product(vector: Vector) -> Vector:
        total = [np.zeros(w.shape, np.float64) for w in weights]
        given = [tf.constant(v, tf.float32) for v in vector]
        for start in range(0, len(rows), batch):
            found = compiled(np.asarray(rows.images[start : start + batch], np.float32), given)
            total = [a + b.numpy() for a, b in zip(total, found, strict=True)]
        return [t / len(rows) for t in total]

    return product


def _product(model: Any, weights: list[Any], images: Any, vector: Any) -> list[Any]:
    """The sum over a batch; J v by differentiating u -> J' u, which is linear in u, along v."""
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(weights)
            logits = tf.cast(model(images, training=False), tf.float32)  # [b, C]
        u = tf.zeros_like(logits)
        outer.watch(u)
        back = tape.gradient(logits, weights, u, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        along = tf.add_n([tf.reduce_sum(b * v) for b, v in zip(back, vector, strict=True)])
    forward = outer.gradient(along, u)  # J v, [b, C]
    p = tf.nn.softmax(logits)
    curved = p * forward - p * tf.reduce_sum(p * forward, axis=1, keepdims=True)
    found = tape.gradient(logits, weights, curved, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(g) for g in found]


def conjugate_gradient(
    product: Callable[[Vector], Vector], right: Vector, damping: float, iterations: int, tolerance: float
) -> Vector:
    """Solves (A + damping * I) x = right for a matrix A that is never negative [2], in float64.

    Args:
      product: v -> A v.
      right: the right-hand side.
      damping: at least 0.
      iterations: at most; stopped early, x is the best in a growing subspace, as if damped more.
      tolerance: ends when the residual's norm is this share of the right-hand side's.
    """
    shapes, ends = [np.shape(r) for r in right], np.cumsum([np.size(r) for r in right])[:-1]

    def parts(flat: np.ndarray) -> Vector:
        return [p.reshape(s) for p, s in zip(np.split(flat, ends), shapes, strict=True)]

    residual = np.concatenate([np.ravel(r) for r in right]).astype(np.float64)
    x, direction, size = 0 * residual, residual, float(residual @ residual)
    target = tolerance**2 * size
    for _ in range(iterations):
        if size <= target:
            break
        moved = np.concatenate([np.ravel(p) for p in product(parts(direction))]) + damping * direction
        bend = float(direction @ moved)
        if bend <= 0:  # no curvature left but rounding
            break
        x, residual = x + size / bend * direction, residual - size / bend * moved
        before, size = size, float(residual @ residual)
        direction = residual + size / before * direction
    return parts(x)
