"""Layer spread gaps: by hand, by an independent way through the network, and what must not change them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.audit import layer_spread_gap, layer_spread_gaps
from tfpdu.common import UserError
from tfpdu.ensemble import BatchNormalization, build_resnet18

L = keras.layers


def only(layer, shape=(1, 2, 2)):
    """A network of one layer."""
    return keras.Sequential([keras.Input(shape), layer])


def pictures(*rows):
    return np.array(rows, np.float32)


def test_two_classes_worked_by_hand():
    """Moving mean 1 and variance 4, no epsilon to speak of: activations (x - 1) / 2, over 2 rows x 2 positions a class.

    Class 0, channel 0: 0, 1, 0, 1: mean 1/2, variance 1/4, deviation 1/2; channel 1: all 0: 0.
    Class 1, channel 0: 0, 2, 0, 2: variance 1, deviation 1; channel 1: -1, 1, -1, 1: variance 1, deviation 1.
    """
    layer = L.BatchNormalization(epsilon=1e-12)
    model = only(layer)
    layer.set_weights([np.array([3.0, 0.0]), np.array([7.0, 1.0]), np.ones(2), 4 * np.ones(2)])
    first, second = [[[1.0, 1], [3, 1]]], [[[1.0, -1], [5, 3]]]
    x, labels = pictures(first, second, first, second), np.array([3, 8, 3, 8])
    std = layer_spread_gap(model, x, labels)
    np.testing.assert_allclose(std.by_class, [[0.25, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(std.gaps, [0.75], rtol=1e-6)
    variance = layer_spread_gap(model, x, labels, spread="variance", batch=3)
    np.testing.assert_allclose(variance.by_class, [[0.125, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(variance.gaps, [0.875], rtol=1e-6)
    assert (std.spread, variance.spread) == ("std", "variance")
    both = layer_spread_gaps(model, x, labels)
    assert [(name, each.mean_gap) for name, each in both.items()] == [("std", 0.75), ("variance", 0.875)]
    assert std.layers == (layer.name,)
    assert (std.classes.tolist(), std.rows.tolist()) == ([3, 8], [2, 2])
    assert std.mean_gap == pytest.approx(0.75)


def test_layer_normalisation_worked_by_hand():
    """Two channels a position become -1 and 1 or 1 and -1: class 0 always the first, class 1 each half of the time."""
    model = only(L.LayerNormalization(epsilon=1e-9))
    x = pictures([[[0, 5], [1, 2]]], [[[3, 4], [0, 9]]], [[[0, 5], [3, 2]]], [[[4, 4.5], [9, 0]]])
    found = layer_spread_gap(model, x, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(found.by_class, [[0.0, 1.0]], atol=1e-3)


def normalised_groups(x, groups, epsilon):
    """Group normalisation [n, h, w, c] in plain arithmetic."""
    n, h, w, c = x.shape
    parts = x.reshape(n, h, w, groups, c // groups).astype(np.float64)
    mean, variance = parts.mean((1, 2, 4), keepdims=True), parts.var((1, 2, 4), keepdims=True)
    return ((parts - mean) / np.sqrt(variance + epsilon)).reshape(x.shape)


def moving(x, layer):
    return (x - np.asarray(layer.moving_mean)) / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)


KINDS = {
    "keras batch": (lambda: L.BatchNormalization(), moving),
    "keras batch without gamma": (lambda: L.BatchNormalization(scale=False, center=False), moving),
    "tfpdu batch": (lambda: BatchNormalization(), moving),
    "layer": (
        lambda: L.LayerNormalization(),
        lambda x, layer: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.epsilon),
    ),
    "layer over all": (
        lambda: L.LayerNormalization(axis=[1, 2, 3]),
        lambda x, layer: normalised_groups(x, 1, layer.epsilon),
    ),
    "group": (lambda: L.GroupNormalization(2), lambda x, layer: normalised_groups(x, 2, layer.epsilon)),
}  # fmt: skip


def slowly(activations, labels, spread):
    """Class by class and channel by channel."""
    spreads = []
    for label in np.unique(labels):
        rows = activations[labels == label].astype(np.float64)
        channels = [rows[..., c] for c in range(rows.shape[-1])]
        spreads.append(np.mean([getattr(np, spread)(channel) for channel in channels]))
    return np.array(spreads)


def randomised(model, seed=0):
    """Weights without zeros or ones anywhere."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        positive = weight.name in ("moving_variance", "gamma")
        weight.assign(draw.uniform(0.5, 2, weight.shape) if positive else draw.normal(0, 0.5, weight.shape))
    return model


ROWS = np.random.default_rng(5).normal(1, 2, (23, 3, 2, 4)).astype(np.float32)
LABELS = np.random.default_rng(6).integers(0, 3, 23)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_agrees_with_plain_arithmetic_before_gamma_and_beta(kind):
    make, plain = KINDS[kind]
    layer = make()
    model = randomised(only(layer, (3, 2, 4)))
    activations = plain(ROWS, layer)
    for spread, name in (("std", "std"), ("var", "variance")):
        expected = slowly(activations, LABELS, spread)
        found = layer_spread_gap(model, ROWS, LABELS, spread=name, batch=5)
        np.testing.assert_allclose(found.by_class[0], expected, rtol=2e-5)
        np.testing.assert_allclose(found.gaps[0], np.ptp(expected), rtol=1e-3)


def test_channels_first_are_channels():
    layer = L.BatchNormalization(axis=1)
    model = randomised(only(layer, (4, 3, 2)))
    last = L.BatchNormalization()
    twin = only(last, (3, 2, 4))
    last.set_weights(layer.get_weights())
    found = layer_spread_gap(model, np.moveaxis(ROWS, -1, 1), LABELS)
    np.testing.assert_allclose(found.by_class, layer_spread_gap(twin, ROWS, LABELS).by_class, rtol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Written(keras.Model):
    """A subclassed model with a model inside, and a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.late, self.shared = L.GroupNormalization(2, name="late"), L.BatchNormalization(name="shared")
        self.inside = keras.Sequential([L.Dense(4), L.LayerNormalization(name="within")])
        self.head = L.Dense(3)

    def call(self, x, training=False):
        x = self.shared(x, training=training)
        y = self.shared(self.inside(x), training=training)
        return self.head(L.GlobalAveragePooling2D()(self.late(x + y)))


def test_subclassed_models_are_looked_into_in_the_order_of_calls():
    model = Written()
    model(ROWS)
    randomised(model)
    found = layer_spread_gap(model, ROWS, LABELS)
    assert found.layers == ("shared", "within", "late")
    x = np.asarray(model.shared(ROWS))
    within = np.asarray(model.inside.layers[0](x))
    within = (within - within.mean(-1, keepdims=True)) / np.sqrt(within.var(-1, keepdims=True) + 1e-3)
    both = np.concatenate([moving(ROWS, model.shared), moving(np.asarray(model.inside(x)), model.shared)], 1)
    np.testing.assert_allclose(found.by_class[0], slowly(both, LABELS, "std"), rtol=1e-4)
    np.testing.assert_allclose(found.by_class[1], slowly(within, LABELS, "std"), rtol=1e-4)


def test_a_resnets_layers_agree_with_their_inputs_taken_out_of_it():
    model = randomised(build_resnet18((8, 8, 3), 3, width=2))
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    labels = np.arange(12) % 3
    before, weights = model.get_config(), model.get_weights()
    found = layer_spread_gap(model, x, labels, batch=7)
    assert len(found.layers) == 20
    for name in ("stem_norm", "stage2_block1_shortcut_norm", "stage4_block2_2_norm"):
        layer = model.get_layer(name)
        given = np.asarray(keras.Model(model.inputs[0], layer.input)(x.astype(np.float32)))
        expected = slowly(moving(given, layer), labels, "std")
        np.testing.assert_allclose(found.by_class[found.layers.index(name)], expected, rtol=1e-3)
    assert model.get_config() == before
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    assert not any("call" in layer.__dict__ for layer in model.layers)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.0, -2.0, 1e3]), batch=st.integers(1, 30))
def test_neither_the_order_of_rows_nor_gamma_and_beta_change_anything(seed, scale, batch):
    draw = np.random.default_rng(seed)
    layer = L.BatchNormalization()
    model = randomised(only(layer, (3, 2, 4)), 1)
    before = layer_spread_gap(model, ROWS, LABELS)
    layer.gamma.assign(scale * layer.gamma)
    layer.beta.assign(layer.beta + scale)
    order = draw.permutation(23)
    after = layer_spread_gap(model, ROWS[order], LABELS[order], batch=batch)
    np.testing.assert_allclose(after.by_class, before.by_class, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS[:5], {}, r"labels: expected int\[23\]"),
        (np.zeros(23), {}, "float64"),
        (np.zeros(23, int), {}, "two classes or more"),
        (np.arange(23) // 22, {}, "class 1 has 1 row"),
        (LABELS, {"spread": "sigma"}, "spread: unknown 'sigma'"),
        (LABELS, {"batch": 0}, "batch"),
    ],
)
def test_what_has_no_gap_is_refused(labels, options, message):
    with pytest.raises(UserError, match=message) as error:
        layer_spread_gap(only(L.BatchNormalization(), (3, 2, 4)), ROWS, labels, **options)
    assert "\n" not in str(error.value)


def test_a_model_without_normalisation_is_refused_and_a_failing_one_left_as_it_was():
    with pytest.raises(UserError, match="Sequential has no batch, layer or group normalisation"):
        layer_spread_gap(only(L.Dense(3), (3, 2, 4)), ROWS, LABELS)
    layer = L.BatchNormalization()
    with pytest.raises(ValueError, match="shape"):
        layer_spread_gap(only(layer, (3, 2, 5)), ROWS, LABELS)
    assert "call" not in layer.__dict__
