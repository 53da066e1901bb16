"""Perturbed images: in the ball, worse for the model, the same every time, and telling on a model that memorised."""

import keras
import numpy as np
import pytest

from tfpdu.audit import perturbed_images
from tfpdu.common import UserError


@pytest.fixture(scope="module")
def linear():
    """Logits that are a known linear function of the pixels."""
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(2, use_bias=False)])
    model.set_weights([np.array([[0.1, 0.0], [0.0, 0.1], [-0.1, 0.0], [0.0, 0.0]], np.float32)])
    return model


def test_perturbation_of_a_linear_model_by_hand(linear):
    """Label 0: its logit falls with pixel 0 and rises as pixel 2 falls; the other logit rises with pixel 1."""
    image = np.full((1, 2, 2, 1), 100, np.uint8)
    out = perturbed_images(linear, image, np.array([0]), budget=8, step=2.0, steps=3)
    assert out.ravel().tolist() == [94, 106, 106, 100]
    out = perturbed_images(linear, image, np.array([0]), budget=8, step=2.0, steps=10)
    assert out.ravel().tolist() == [92, 108, 108, 100]  # as far as the ball goes
    edge = np.array([3, 250, 254, 0], np.uint8).reshape(1, 2, 2, 1)
    assert perturbed_images(linear, edge, np.array([0])).ravel().tolist() == [0, 255, 255, 0]


def test_perturbation_works_where_the_loss_has_rounded_to_zero(linear):
    """Margin 40 nats: the cross-entropy's own gradient is 0 in float32 and the image would stay as it is."""
    sure = np.array([255, 0, 0, 0], np.uint8).reshape(1, 2, 2, 1)
    sharp = keras.models.clone_model(linear)
    sharp.set_weights([4 * linear.get_weights()[0]])
    assert perturbed_images(sharp, sure, np.array([0])).ravel().tolist() == [247, 8, 8, 0]


def test_perturbation_is_in_the_ball_worse_for_the_model_and_repeats():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Rescaling(1 / 64), keras.layers.Flatten(),
         keras.layers.Dense(16, "tanh"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    )  # fmt: skip
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (20, 4, 4, 1), np.uint8), generator.integers(0, 3, 20)
    out = perturbed_images(model, images, labels, budget=5, block_rows=7)
    assert out.dtype == np.uint8
    assert np.abs(out.astype(int) - images).max() == 5
    assert np.array_equal(out, perturbed_images(model, images, labels, budget=5, block_rows=7))
    order = generator.permutation(20)
    assert np.array_equal(perturbed_images(model, images[order], labels[order], budget=5), out[order])

    def losses(x):
        z = np.asarray(model(x.astype(np.float32), training=False), np.float64)
        return np.log(np.exp(z).sum(axis=1)) - z[np.arange(20), labels]

    assert (losses(out) > losses(images)).all()
    softmax = keras.Sequential([model, keras.layers.Softmax()])
    assert np.array_equal(perturbed_images(softmax, images, labels, budget=5, from_logits=False), out)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"budget": 0}, "budget"), ({"budget": 1.5}, "whole number of grey levels"), ({"steps": 0}, "steps")],
)
def test_impossible_walks_are_refused(linear, options, complaint):
    with pytest.raises(UserError, match=complaint):
        perturbed_images(linear, np.zeros((1, 2, 2, 1), np.uint8), np.array([0]), **options)


def test_labels_of_another_size_are_refused(linear):
    with pytest.raises(UserError, match=r"labels int\[1\], got int64\[2\]"):
        perturbed_images(linear, np.zeros((1, 2, 2, 1), np.uint8), np.array([0, 1]))
