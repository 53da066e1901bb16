"""Our two layers against Keras' own and against plain arithmetic."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.ensemble import BatchNormalization
from tfpdu.ensemble.convolution import Convolution
from tfpdu.ensemble.normalization import _fused, _plain


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    size=st.sampled_from([1, 2, 3, 5, 7]),
    stride=st.integers(1, 3),
    bias=st.booleans(),
)
def test_convolution_and_its_gradients_equal_keras(height, width, size, stride, bias):
    random = np.random.default_rng(height + 10 * width + 100 * size)
    x = tf.constant(random.normal(0, 1, (3, height, width, 2)), tf.float32)
    ours = Convolution(4, size, stride, "same", use_bias=bias)
    theirs = keras.layers.Conv2D(4, size, stride, "same", use_bias=bias)
    results = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        if layer is theirs:
            theirs.set_weights(ours.get_weights())
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, [x, layer.kernel.value])])
    for got, expected in zip(*results, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_convolution_survives_serialisation():
    layer = Convolution(4, 3, 2, "same", use_bias=False, dtype="mixed_bfloat16", name="c")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(again) is Convolution
    assert again.get_config() == layer.get_config()
    assert again(np.zeros((1, 2, 2, 3))).dtype == tf.bfloat16


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (4, 1, 1, 3), (1, 1, 1, 3)])
def test_both_ways_of_normalising_agree(shape):
    x = tf.constant(np.random.default_rng(0).normal(3, 2, shape), tf.float32)
    gamma, beta = tf.constant([1.0, 2.0, 0.5]), tf.constant([0.0, 1.0, -1.0])
    for got, expected in zip(_fused(x, gamma, beta, 1.001e-5), _plain(x, gamma, beta, 1.001e-5), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-4)


def test_normalises_by_the_batch_and_remembers_unbiased_moments():
    x = np.random.default_rng(0).normal(3, 2, (8, 2, 2, 3)).astype(np.float32)
    layer = BatchNormalization(momentum=0.75)
    y = np.asarray(layer(x, training=True))
    flat = x.reshape(-1, 3)
    np.testing.assert_allclose(y.reshape(-1, 3), (flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1.001e-5), atol=1e-4)
    np.testing.assert_allclose(layer.moving_mean, 0.25 * flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + 0.25 * flat.var(0, ddof=1), rtol=1e-5)
    moving_mean, moving_variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
    quiet = np.asarray(layer(x, training=False))
    np.testing.assert_allclose(quiet, (x - moving_mean) / np.sqrt(moving_variance + 1.001e-5), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(layer.moving_mean, moving_mean)


def test_normalisation_survives_serialisation_and_takes_bfloat16():
    layer = BatchNormalization(momentum=0.5, epsilon=1e-3, dtype="mixed_bfloat16")
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (again.momentum, again.epsilon) == (0.5, 1e-3)
    for training in (True, False):
        assert again(np.ones((2, 2, 2, 3)), training=training).dtype == tf.bfloat16
    assert {v.dtype for v in again.weights} == {"float32"}
