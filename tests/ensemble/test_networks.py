"""What a network is asked: answers, gradients by the pixels, its layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfpdu.ensemble import build_resnet18
from tfpdu.ensemble.networks import answers, image_gradient, is_normalisation, is_product, leaves


def test_answers_are_those_of_evaluation_mode_whatever_the_batch():
    model = build_resnet18((8, 8, 3), 3, width=2)
    x = np.random.default_rng(0).integers(0, 255, (7, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_allclose(answers(model, x, batch=3), model(x.astype(np.float32), training=False), rtol=1e-5)


def test_layers_come_from_input_to_output_and_by_their_kind():
    found = leaves(build_resnet18((8, 8, 3), 3, width=2))
    names = [layer.name for layer in found]
    assert (names[0], names[-1], len(names)) == ("stem_conv", "logits", 41)  # 20 convolutions with norms, and a head
    assert [layer.name for layer in found if is_product(layer)][:2] == ["stem_conv", "stage1_block1_1_conv"]
    assert sum(map(is_normalisation, found)) == 20


def softmax_regression(scale, activation=None):
    model = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, activation)])
    model.set_weights([scale * np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]]), np.zeros(3)])
    return model


@pytest.mark.parametrize("activation", [None, "softmax"])
@pytest.mark.parametrize(("scale", "label"), [(1.0, 0), (1.0, 2), (15.0, 0)])
def test_a_rows_gradient_is_that_of_its_odds(activation, scale, label):
    """d/dx log((1 - p) / p) by hand: the weights of the others by their share, less the label's own.

    At scale 15 the label has all but 3e-7 of the probability, and the cross-entropy's gradient in float32 is noise.
    """
    x = np.array([1.0, 0.0])
    kernel = scale * np.array([[1.0, 0.0, -1.0], [0.0, 2.0, 0.0]])
    p = np.exp(x @ kernel)
    others = np.delete(p, label) / np.delete(p, label).sum()
    expected = np.delete(kernel, label, 1) @ others - kernel[:, label]
    pictures = tf.constant(np.array([x, x]).reshape(2, 1, 2, 1), tf.float32)
    model = softmax_regression(scale, activation)
    _, gradient = image_gradient(model, pictures, tf.constant([label, label]), from_logits=activation is None)
    np.testing.assert_allclose(gradient[0].numpy().ravel(), expected, rtol=2e-2 if activation else 1e-5)
    np.testing.assert_array_equal(gradient[0], gradient[1])
