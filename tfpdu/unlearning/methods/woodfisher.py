"""Influence unlearning as the benchmarks have it (IU): a step along the WoodFisher recursion.

Algorithm: v = sum of the gradients of the m rows to forget / (m + n) - m / ((m + n) n) * sum of those of the n retained
rows; k = v and o = the first retained row's gradient; then for each next retained row's gradient g, N of them:
k -= (k.g) / (N + o.g) * o and o -= (o.g) / (N + o.g) * o. The new weights are w0 + alpha * k.

Pitfalls: o stands for F^-1 g, which is exact only while all g are equal; Singh and Alistarh's recursion needs one such
vector for each row. So k is a rough answer, its scale alpha has to be searched, and reports range from below 1 to 100:
above what suits the model everything breaks. One row at a time, so N forward and backward passes with no batch.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common.validation import one_of, positive
from tfpdu.data.views import epoch_order
from tfpdu.ensemble.networks import compiled_graph
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import (
    LAYERS,
    chosen_layers,
    gradient_sum,
    learning,
    learning_weights,
    weights_gradient,
)


@dataclasses.dataclass(frozen=True)
class WoodFisherSettings:
    """Of the one step. Batch statistics are used, and stay.

    Attributes:
      alpha: of the step; below 1 to 100 have been found best.
      samples: N, the retained rows that the recursion sees, in the order of their hash.
      batch: rows at once in the two sums.
      layers: which layers move, as in `DescentSettings`.
    """

    alpha: float = 1.0
    samples: int = 1000
    batch: int = 128
    layers: str = "all"

    def __post_init__(self) -> None:
        positive(alpha=self.alpha, samples=self.samples, batch=self.batch)
        one_of(LAYERS, layers=self.layers)


def _run(
    model: keras.Model, forget: Examples, retain: Examples, settings: WoodFisherSettings, seed: int
) -> keras.Model:
    layers, m, n = chosen_layers(model, settings.layers), len(forget), len(retain)
    weights = learning_weights(model, layers)
    lost, kept = (gradient_sum(model, learning(model, rows), layers, settings.batch) for rows in (forget, retain))
    step = [tf.Variable(a / (m + n) - m / ((m + n) * n) * b) for a, b in zip(lost, kept, strict=True)]
    guide = [tf.Variable(tf.zeros_like(w)) for w in weights]
    walk = learning(model, retain.take(epoch_order(retain.keys, 0, seed)[: settings.samples + 2]))
    signature = [tf.TensorSpec((1, *x.shape[1:]), tf.float32) for x in (walk.rows.images, walk.targets)]
    gradient = compiled_graph(signature, weights_gradient, model, weights, walk.loss)
    recursion = compiled_graph(None, _recursion, step, guide, float(settings.samples))
    for row in range(len(walk.rows)):
        found = gradient(np.asarray(walk.rows.images[row : row + 1], np.float32), walk.targets[row : row + 1])
        if row == 0:
            for o, g in zip(guide, found, strict=True):
                o.assign(g)
        else:
            recursion(found)
    for weight, move in zip(weights, step, strict=True):
        weight.assign_add(settings.alpha * move)
    return model


def _recursion(step: list[Any], guide: list[Any], samples: float, gradient: Any) -> None:
    along, met = _dot(step, gradient), _dot(guide, gradient)
    for k, o in zip(step, guide, strict=True):
        k.assign_sub(along / (samples + met) * o)
        o.assign_sub(met / (samples + met) * o)


def _dot(first: Any, second: Any) -> Any:
    return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(first, second, strict=True)])


WOODFISHER = Method(
    name="woodfisher",
    citation="Izzo, Smart, Chaudhuri, Zou. Approximate data deletion. AISTATS 2021; as in Jia et al. NeurIPS 2023",
    needs_retain=True,
    settings=WoodFisherSettings,
    run=_run,
)
