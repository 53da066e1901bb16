"""Which training rows help a group most, by its nearest neighbours: no gradient, no retraining.

Reference:
  [1] Jia, Dao, Wang, Hubis, Gurel, Li, Zhang, Spanos, Song. Efficient task-specific data valuation for nearest
      neighbor algorithms. PVLDB 2019, theorem 1.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.validation import positive
from tfpdu.ensemble.networks import answers


def neighbour_values(
    features: np.ndarray, labels: np.ndarray, asked: np.ndarray, asked_labels: np.ndarray, k: int = 5
) -> np.ndarray:
    """The exact Shapley value of each training row for a k-nearest-neighbour classifier on some rows, float64[n].

    The worth of a set of training rows is the share of the k nearest of them that have the asked row's class, meaned
    over the asked rows; the values add up to the worth of all rows [1].

    Args:
      features: float[n, d] of the training rows; distances are Euclidean, equal ones in the order of the rows.
      labels: int[n].
      asked: float[m, d], m at least 1.
      asked_labels: int[m].
      k: neighbours.
    """
    positive(k=k)
    n = len(features)
    if not n or not len(asked):
        raise UserError(f"neighbour_values: {n} training rows and {len(asked)} asked, expected at least one of each")
    places = np.arange(1, n)  # i of [1]
    shares = np.minimum(k, places) / (k * places)
    values = np.zeros(n)
    squares = (features.astype(np.float64) ** 2).sum(1)
    for row, label in zip(asked.astype(np.float64), asked_labels, strict=True):
        order = np.argsort(squares - 2 * features @ row, kind="stable")
        right = (labels[order] == label).astype(np.float64)
        steps = np.append((right[:-1] - right[1:]) * shares, right[-1] * min(k, n) / (k * n))
        values[order] += np.cumsum(steps[::-1])[::-1]
    return values / len(asked)


def last_features(model: keras.Model, images: Any) -> np.ndarray:
    """What the model's last layer sees of pictures [n, h, w, c], float32[n, d]."""
    below = keras.Model(model.inputs, model.layers[-1].input)
    found = answers(below, images)
    return np.asarray(tf.reshape(found, (len(found), -1)))
