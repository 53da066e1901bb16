"""The shared training loop against softmax regression by hand, in float64."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unlearning.methods.conftest import gradients
from tfpdu.common import UserError
from tfpdu.data.views import ViewPolicy, epoch_order, render, training_views
from tfpdu.ensemble.networks import is_normalisation, leaves
from tfpdu.ensemble.normalization import BatchNormalization
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.unlearning.methods import DescentSettings, Examples
from tfpdu.unlearning.methods.descent import (
    Pass,
    ascent,
    chosen_layers,
    cross_entropy,
    descend,
    gradient_sum,
    learning,
    learning_weights,
    tail,
)

PLAIN = DescentSettings(epochs=3, learning_rate=0.3, batch=12, momentum=0, weight_decay=0)


def by_hand(model, rows, settings, mask=None, anchor=0.0, l1=lambda epoch: 0.0, sign=1):
    """SGD as PyTorch's, batch by batch, with every term of `descend`."""
    w = [np.asarray(v, np.float64) for v in model.get_weights()]
    start, v = [a.copy() for a in w], [0 * a for a in w]
    x, y = rows.images.reshape(len(rows), -1).astype(np.float64), np.eye(3)[rows.labels]
    parts = math.ceil(len(rows) / settings.batch)
    for epoch in range(settings.epochs):
        for i, part in enumerate(np.array_split(epoch_order(rows.ids, epoch, 5), parts)):
            g = [sign * a for a in gradients(w, x[part], y[part])]
            g = [a + anchor * (b - c) + l1(epoch) * np.sign(b) for a, b, c in zip(g, w, start, strict=True)]
            g = g if mask is None else [a * m for a, m in zip(g, mask, strict=True)]
            norm = np.sqrt(sum((a**2).sum() for a in g))
            g = [a * min(1, settings.clip / norm) if settings.clip else a for a in g]
            g = [a + settings.weight_decay * b for a, b in zip(g, w, strict=True)]
            v = [settings.momentum * a + b for a, b in zip(v, g, strict=True)]
            still = mask if mask is not None and settings.freeze == "weights" else [1, 1]
            v = [a * m for a, m in zip(v, still, strict=True)]
            w = [a - settings.rate(epoch + i / parts) * b for a, b in zip(w, v, strict=True)]
    return w


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, {}),
        (dict(momentum=0.9, batch=5), {}),
        (dict(weight_decay=0.1, momentum=0.5), {}),
        (dict(schedule="cosine", batch=4), {}),
        (dict(schedule="step", step_epochs=1, batch=4), {}),
        (dict(schedule="restarts", batch=4), {}),
        (dict(clip=0.05), {}),
        (dict(momentum=0.9), dict(anchor=0.7)),
        (dict(), dict(l1=lambda epoch: 0.05 * (1 - epoch / 3))),
        (dict(momentum=0.9, weight_decay=0.1, freeze="weights"), "mask"),
        (dict(momentum=0.9, weight_decay=0.1, freeze="gradients", clip=0.3), "mask"),
    ],
)
def test_steps_equal_those_worked_by_hand(linear, pixels, changes, terms):
    settings = dataclasses.replace(PLAIN, **changes)
    if terms == "mask":
        terms = {"mask": [np.arange(12).reshape(4, 3) % 2 == 0, np.array([True, False, True])]}
    expected = by_hand(linear, pixels, settings, **terms)
    descend(linear, lambda epoch: [learning(linear, pixels)], settings, 5, **terms)
    for got, wanted in zip(linear.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-6)


def test_first_loss_is_the_mean_cross_entropy_and_ascent_its_negative(linear, pixels):
    x = pixels.images.reshape(12, 4).astype(np.float64) @ linear.get_weights()[0] + linear.get_weights()[1]
    expected = np.mean(np.log(np.exp(x).sum(1)) - x[np.arange(12), pixels.labels])
    once = dataclasses.replace(PLAIN, epochs=1, learning_rate=1e-12)
    walk = learning(linear, pixels)
    assert descend(linear, lambda epoch: [walk], once, 0)[0] == pytest.approx(expected, rel=1e-6)
    back = dataclasses.replace(walk, loss=ascent)
    assert descend(linear, lambda epoch: [back], once, 0)[0] == pytest.approx(-expected, rel=1e-6)


def test_extra_term_is_minimised_too(linear, pixels):
    bias = linear.layers[-1].bias

    def nothing(logits, targets):
        return 0 * cross_entropy(logits, targets)

    walk = dataclasses.replace(learning(linear, pixels), loss=nothing)
    before = bias.numpy()
    descend(linear, lambda epoch: [walk], PLAIN, 0, extra=lambda: keras.ops.sum(bias.value**2))
    np.testing.assert_allclose(bias.numpy(), before * (1 - 2 * 0.3) ** 3, rtol=1e-5)


def test_masked_weights_keep_every_bit_and_others_move(linear, pixels):
    mask = [np.zeros((4, 3), bool), np.ones(3, bool)]
    before = linear.get_weights()
    settings = dataclasses.replace(PLAIN, momentum=0.9, weight_decay=0.3)
    descend(linear, lambda epoch: [learning(linear, pixels)], settings, 0, mask=mask)
    assert np.array_equal(linear.get_weights()[0], before[0])
    assert not np.array_equal(linear.get_weights()[1], before[1])


@given(order=st.permutations(range(12)), seed=st.integers(0, 9))
def test_epoch_order_depends_on_seed_epoch_and_id_alone(order, seed):
    ids = np.array([f"r{i:02d}" for i in range(12)])
    rows = Examples(np.zeros((12, 2, 2, 1), np.uint8), np.zeros(12, int), ids)
    turned = rows.take(np.array(order))
    for epoch in range(2):
        first, second = (part.ids[epoch_order(part.keys, epoch, seed)].tolist() for part in (rows, turned))
        assert first == second


def test_gradient_sum_is_the_sum_over_batches(linear, pixels):
    expected = gradients(linear.get_weights(), pixels.images.reshape(12, 4), np.eye(3)[pixels.labels])
    found = gradient_sum(linear, learning(linear, pixels), batch=5)
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, 12 * wanted, atol=1e-5)


def normalised():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 3, name="first"),
            layers.BatchNormalization(name="norm_first"),
            layers.Conv2D(3, 1, name="second"),
            layers.BatchNormalization(name="norm_second"),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )


def rows_for_normalised():
    images = np.random.default_rng(0).integers(0, 9, (8, 4, 4, 1)).astype(np.uint8)
    return Examples(images, np.arange(8) % 3, np.array([f"r{i}" for i in range(8)]))


@pytest.mark.parametrize("mode", ["update", "frozen"])
def test_batch_statistics_move_or_stay_as_asked(mode):
    model, rows = normalised(), rows_for_normalised()
    settings = dataclasses.replace(PLAIN, batchnorm=mode)
    before = {v.path: v.numpy() for v in model.variables}
    descend(model, lambda epoch: [learning(model, rows)], settings, 0)
    moved = {v.path for v in model.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert any("gamma" in path for path in moved)
    assert any("moving" in path for path in moved) == (mode == "update")
    assert all(layer.trainable for layer in model.layers)


def test_layers_that_do_not_learn_keep_weights_and_statistics():
    model, rows = normalised(), rows_for_normalised()
    before = {v.path: v.numpy() for v in model.variables}
    descend(model, lambda epoch: [learning(model, rows)], PLAIN, 0, trained=tail(model, 2))
    moved = {v.path.split("/")[-2] for v in model.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert moved == {"second", "norm_second", "logits"}


def test_tail_walks_back_over_convolutions_and_dense_layers():
    model = normalised()
    names = [[layer.name for layer in tail(model, k)] for k in (1, 2, 3, 9)]
    assert names[:2] == [["logits"], ["second", "norm_second", "logits"]]
    assert names[2] == names[3] == ["first", "norm_first", "second", "norm_second", "logits"]


def test_a_resnet_has_20_convolutions_and_one_dense_layer_and_a_third_of_them_can_be_frozen():
    model = build_resnet18((8, 8, 3), 4, width=2)
    everything = leaves(model)
    assert sum(hasattr(layer, "kernel") for layer in everything) == 21
    assert sum(map(is_normalisation, everything)) == 20
    assert len(learning_weights(model, everything)) == len(model.trainable_weights)
    kept = [layer.name for layer in everything if layer not in chosen_layers(model, "intermediate_and_last")]
    assert sum("conv" in name for name in kept) == 7
    assert kept[0] == "stem_conv"
    assert [layer.name for layer in chosen_layers(model, "last")] == ["logits"]


def test_own_batch_normalisation_stands_still_where_it_does_not_learn():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 1),
            BatchNormalization(name="still"),
            layers.Conv2D(2, 2, name="second"),
            BatchNormalization(name="moving"),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )
    rows = rows_for_normalised()
    before = {v.path: v.numpy() for v in model.variables}
    once = dataclasses.replace(PLAIN, epochs=1, learning_rate=0.01)
    descend(model, lambda epoch: [learning(model, rows)], once, 0, trained=tail(model, 2))
    moved = {v.path for v in model.variables if not np.array_equal(v.numpy(), before[v.path])}
    assert {path.split("/")[-2] for path in moved} == {"second", "moving", "logits"}
    assert any("moving_mean" in path for path in moved)


def test_pictures_are_augmented_by_row_and_epoch_where_they_should_be(linear):
    """A pass whose loss is the sum of a picture's columns' differences sees which pictures were mirrored."""
    images = np.tile(np.float32([[0, 1], [0, 1]])[None, :, :, None], (40, 1, 1, 1))
    rows = Examples(images, np.zeros(40, int), np.array([f"r{i}" for i in range(40)]))
    linear.set_weights([np.float32([[-1, 0, 0], [1, 0, 0]] * 2), np.zeros(3, np.float32)])

    def mirrored(logits, targets):
        return (2 - logits[:, 0]) / 4  # 0 as it was, 1 when mirrored

    policy = ViewPolicy(shift=0)
    settings = dataclasses.replace(PLAIN, epochs=4, learning_rate=1e-12, batch=40, views=policy)
    walk = Pass(rows, learning(linear, rows).targets, mirrored)
    found = descend(linear, lambda epoch: [walk], settings, 5)
    for epoch, share in enumerate(found):
        views = training_views(rows.ids, epoch, policy, 5)
        seen = render(images, rows.ids, views, policy, 5)
        assert share == pytest.approx(np.mean(seen[:, 0, 0, 0]), abs=1e-5)
    assert len(set(found)) > 1
    plain = dataclasses.replace(walk, augmented=np.zeros(40, bool))
    assert descend(linear, lambda epoch: [plain], settings, 5) == pytest.approx([0] * 4, abs=1e-5)


def test_rate_follows_its_schedule():
    cosine = DescentSettings(epochs=4, learning_rate=2.0, schedule="cosine")
    assert [cosine.rate(t) for t in (0, 2)] == pytest.approx([2, 1])
    step = DescentSettings(learning_rate=2.0, schedule="step", step_epochs=2)
    assert [step.rate(t) for t in (0, 1.9, 2, 4)] == pytest.approx([2, 2, 0.2, 0.02])
    restarts = DescentSettings(learning_rate=0.1, schedule="restarts")  # periods 0-1, 1-3, 3-7
    assert [restarts.rate(t) for t in (0, 1, 3)] == pytest.approx([0.1] * 3)
    assert [restarts.rate(t) for t in (0.5, 2, 5)] == pytest.approx([0.0525] * 3)
    assert restarts.rate(6.9999) == pytest.approx(0.005, abs=1e-6)


def test_diverging_descent_is_refused_with_the_rate(linear, pixels):
    with pytest.raises(UserError, match=r"learning_rate=1e\+38: the loss is .* in epoch 2"):
        descend(linear, lambda epoch: [learning(linear, pixels)], dataclasses.replace(PLAIN, learning_rate=1e38), 0)


def test_weights_lost_in_the_very_last_step_are_noticed(linear, pixels):
    once = dataclasses.replace(PLAIN, epochs=1, learning_rate=1e38, clip=0)
    huge = Examples(1e5 * pixels.images, pixels.labels, pixels.ids)
    with pytest.raises(UserError, match="choose a smaller rate"):
        descend(linear, lambda epoch: [learning(linear, huge)], once, 0)


@pytest.mark.parametrize(
    "wrong",
    [dict(epochs=0), dict(batch=1.5), dict(momentum=2), dict(schedule="linear"), dict(batchnorm="no"), dict(clip=-1),
     dict(freeze="all"), dict(layers="first"), dict(learning_rate=float("nan"))],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        DescentSettings(**wrong)


def test_passes_are_walked_in_turn(linear, pixels):
    seen = []

    def watch(name):
        def loss(logits, targets):
            seen.append(name)
            return cross_entropy(logits, targets)

        return loss

    losses = [watch("a"), watch("b")]
    targets = learning(linear, pixels).targets
    descend(linear, lambda epoch: [Pass(pixels, targets, loss) for loss in losses], PLAIN, 0)
    assert [name for i, name in enumerate(seen) if name not in seen[:i]] == ["a", "b"]
