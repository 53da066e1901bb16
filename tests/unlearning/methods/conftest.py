"""Tiny problems for unlearning methods: a linear model whose training can be done by hand, and random pictures."""

import keras
import numpy as np
import pytest

from tfpdu.unlearning.methods import Examples


@pytest.fixture
def linear():
    """Softmax regression on 2x2 pictures of one channel, 3 classes: [b, 2, 2, 1] to logits [b, 3]."""
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    return model


@pytest.fixture
def pixels():
    """Twelve rows for `linear`."""
    generator = np.random.default_rng(1)
    images = generator.normal(size=(12, 2, 2, 1)).astype(np.float32)
    return Examples(images, generator.integers(0, 3, 12), np.array([f"r{i:02d}" for i in range(12)]))


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def gradients(weights, x, targets):
    """Of the mean cross-entropy of softmax regression, worked out by hand: for the kernel [4, 3] and the bias [3]."""
    gap = (softmax(x @ weights[0] + weights[1]) - targets) / len(x)
    return [x.T @ gap, gap.sum(0)]
