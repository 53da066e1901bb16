"""Zero-shot unlearning on linear maps, where what must not change does not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unlearning.methods.conftest import gradients, softmax
from tfpdu.common import UserError
from tfpdu.unlearning.methods import METHODS, AttackSettings, Examples, build_adversaries
from tfpdu.unlearning.methods.zero_shot import _patches, principal_basis, pseudo_labels

ATTACK = AttackSettings(pixel_max=1.0, epsilon=0.05)


def bright(n=2):
    images = np.random.default_rng(4).uniform(0.1, 0.9, (n, 2, 2, 1)).astype(np.float32)
    return Examples(images, np.arange(n) % 3, np.array([f"b{i}" for i in range(n)]))


def run(model, forget, **settings):
    method = METHODS["zero_shot"]
    plain = dict(epochs=4, learning_rate=0.5, attack=ATTACK)
    return method.unlearn(model, forget, None, method.settings(**{**plain, **settings}), seed=1)


def test_answers_to_the_proxies_stay_where_all_their_directions_are_avoided(linear):
    forget = bright()
    proxies = build_adversaries(linear, forget, ATTACK).examples
    assert len(proxies) == 2
    result = run(linear, forget, energy=1.0, weight_decay=0.01)
    np.testing.assert_allclose(result(proxies.images), linear(proxies.images), atol=1e-4)
    assert np.array_equal(result.get_weights()[1], linear.get_weights()[1])
    assert np.abs(np.array(result(forget.images)) - np.array(linear(forget.images))).max() > 1e-2
    free = run(linear, forget, energy=0.0)
    assert np.abs(np.array(free(proxies.images)) - np.array(linear(proxies.images))).max() > 0.1


def test_basis_holds_the_energy_asked_for():
    generator = np.random.default_rng(0)
    turned, _ = np.linalg.qr(generator.normal(size=(4, 4)))
    matrix = turned @ np.diag([6.0, 3.0, 1.0, 0.0]) @ turned.T
    for energy, rank in ((0.0, 0), (0.5, 1), (0.7, 2), (0.89, 2), (0.95, 3), (1.0, 3)):
        basis = principal_basis(matrix, energy)
        assert basis.shape == (4, rank)
        np.testing.assert_allclose(basis @ basis.T, turned[:, :rank] @ turned[:, :rank].T, atol=1e-9)


def test_pseudo_label_is_the_wrong_class_whose_step_lowers_the_proxies_loss_most():
    generator = np.random.default_rng(1)
    weights = [generator.normal(size=(4, 3)), np.zeros(3)]
    x, proxies = generator.normal(size=(6, 4)), generator.normal(size=(8, 4))
    labels, given = generator.integers(0, 3, 6), np.eye(3)[generator.integers(0, 3, 8)]

    def loss(kernel):
        return -np.log((softmax(proxies @ kernel) * given).sum(1)).mean()

    found = pseudo_labels(x, labels, proxies, softmax(proxies @ weights[0]) - given)
    for row, label, pseudo in zip(x, labels, found, strict=True):
        after = [loss(weights[0] - 1e-4 * gradients(weights, row[None], np.eye(3)[[c]])[0]) for c in range(3)]
        after[label] = np.inf
        assert pseudo == np.argmin(after)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_patches_are_what_a_convolution_multiplies(padding):
    layer = keras.layers.Conv2D(5, 3, 2, padding)
    x = tf.random.stateless_normal((2, 6, 6, 2), (1, 2))
    expected = tf.reshape(layer(x), (-1, 5))
    kernel = tf.reshape(layer.kernel.value, (18, 5))
    np.testing.assert_allclose(_patches(layer, x) @ kernel, expected, atol=1e-5)


def test_models_that_cannot_be_looked_into_are_refused():
    class Closed(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.flat, self.head = keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, x, training=False):
            return self.head(self.flat(x))

        def get_config(self):
            return {}

    model = Closed()
    model(bright().images)
    with pytest.raises(UserError, match="functional or sequential model"):
        run(model, bright())
