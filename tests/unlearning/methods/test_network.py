"""Copies of networks of every kind, and new initial weights."""

import keras
import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.ensemble.networks import leaves
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.unlearning.methods import clone
from tfpdu.unlearning.methods.network import LogProbabilities, initialise


class Subclassed(keras.Model):
    """A network written as a class."""

    def __init__(self, width=4, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.flat, self.inner, self.head = keras.layers.Flatten(), keras.layers.Dense(width), keras.layers.Dense(3)

    def call(self, x, training=False):
        return self.head(keras.ops.relu(self.inner(self.flat(x))))

    def get_config(self):
        return {"width": self.width, **super().get_config()}


class Secretive(Subclassed):
    def get_config(self):
        raise NotImplementedError("what I am made of is my affair")


def built(model):
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def functional():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="shared")(inputs)
    x = keras.layers.BatchNormalization()(x)
    inside = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(2, 3, name="shared")])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(inside(x)))
    return keras.Model(inputs, keras.layers.Dense(3, trainable=False)(x))


MAKERS = {
    "sequential": lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3)]),
    "functional": functional,
    "subclassed": lambda: built(Subclassed(5)),
    "resnet": lambda: build_resnet18((8, 8, 3), 3, width=2),
}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_a_copy_has_equal_bits_and_a_life_of_its_own(kind):
    model = MAKERS[kind]()
    generator = np.random.default_rng(2)
    model.set_weights([generator.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in model.get_weights()])
    before = model.get_weights()
    copy = clone(model)
    assert type(copy) is type(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, copy.get_weights(), strict=True))
    assert [v.trainable for v in copy.weights] == [v.trainable for v in model.weights]
    x = generator.integers(0, 255, (5, 8, 8, 3)).astype(np.float32)
    assert np.array_equal(model(x), copy(x))
    copy.set_weights([0 * w for w in before])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_copies_with_one_seed_drop_the_same_units():
    model, x = functional(), np.ones((4, 8, 8, 3), np.float32)
    first, second, other = (clone(model, seed)(x, training=True) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_a_model_that_does_not_tell_its_configuration_is_refused():
    with pytest.raises(UserError, match="Secretive cannot be copied, it needs get_config"):
        clone(built(Secretive()))


def test_log_probabilities_give_the_probabilities_back():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    x = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(keras.ops.softmax(LogProbabilities(model)(x)), model(x), rtol=1e-5)
    assert np.isfinite(LogProbabilities(model)(1e4 * x)).all()


def test_new_weights_depend_on_seed_and_place_alone():
    drawn = []
    for seed, noise in ((1, 0.0), (1, 5.0), (2, 0.0)):
        model = functional()
        model.set_weights([w + noise for w in model.get_weights()])
        initialise(leaves(model), seed)
        drawn.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    assert not np.array_equal(drawn[0][0], drawn[2][0])
    kernels = [w for w in drawn[0] if w.ndim > 1]
    assert len({float(k.ravel()[0]) for k in kernels}) == len(kernels)


def test_he_normal_kernels_have_their_deviation_and_biases_are_0():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(200, 5)])
    model.set_weights([w + 1 for w in model.get_weights()])
    initialise(leaves(model), 0, "he_normal")
    kernel, bias = model.get_weights()
    # 15,000 draws of a truncated normal with variance 2/75: the standard error of the deviation is about 0.5 %.
    assert kernel.std() == pytest.approx((2 / 75) ** 0.5, rel=0.02)
    assert not bias.any()


def test_a_weight_of_unknown_origin_cannot_be_drawn_anew():
    class Odd(keras.layers.Layer):
        def build(self, shape):
            self.strange = self.add_weight(shape=(2,), name="strange")

        def call(self, x):
            return x * self.strange[0]

    model = keras.Sequential([keras.Input((2,)), Odd()])
    with pytest.raises(UserError, match="strange has no initializer"):
        initialise(leaves(model), 0)
