"""Each method on a problem that can be solved by hand: softmax regression, or its bias alone."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy import special

from tests.unlearning.methods.conftest import softmax
from tests.unlearning.methods.test_descent import by_hand
from tfpdu.common import UserError
from tfpdu.unlearning.methods import METHODS, Examples
from tfpdu.unlearning.methods.random_labels import random_labels
from tfpdu.unlearning.methods.salun import saliency_mask
from tfpdu.unlearning.methods.scrub import divergence

PLAIN = dict(epochs=3, learning_rate=0.3, batch=12, momentum=0.9, weight_decay=0.01, schedule="constant")


def split(rows):
    return rows.take(np.arange(4)), rows.take(np.arange(4, 12))


def run(name, model, forget, retain, seed=5, **settings):
    method = METHODS[name]
    return method.unlearn(model, forget, retain, method.settings(**settings), seed)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


def blank(labels, name="r"):
    """Rows of black pictures, of which softmax regression can only learn how frequent each label is."""
    ids = np.array([f"{name}{i:02d}" for i in range(len(labels))])
    return Examples(np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels), ids)


def test_fine_tuning_and_its_relatives_take_the_steps_worked_by_hand(linear, pixels):
    forget, retain = split(pixels)
    cases = {
        "fine_tune": ({}, {}),
        "fine_tune_anchored": (dict(anchor=0.8), dict(anchor=0.8)),
        "l1_sparse": (dict(alpha=0.06, no_l1_epochs=1), dict(l1=lambda t: 0.06 * (1 - t / 2) if t < 2 else 0.0)),
        "cf_k": (dict(clip=0.0, k=1), {}),
    }
    for name, (settings, terms) in cases.items():
        expected = by_hand(linear, retain, METHODS["fine_tune"].settings(**PLAIN), **terms)
        result = run(name, linear, forget, retain, **PLAIN, **settings)
        for got, wanted in zip(result.get_weights(), expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=3e-6, err_msg=name)


def test_gradient_ascent_takes_the_steps_backwards_and_ignores_retained_rows(linear, pixels):
    forget, retain = split(pixels)
    plain = {**PLAIN, "weight_decay": 0.0}
    expected = by_hand(linear, forget, METHODS["fine_tune"].settings(**plain), sign=-1)
    result = run("gradient_ascent", linear, forget, retain, **plain)
    for got, wanted in zip(result.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-6)
    assert same(result, run("gradient_ascent", linear, forget, None, **plain))


def test_retraining_on_black_pictures_learns_the_retained_frequencies(linear):
    retain = blank([0, 0, 1, 2])
    result = run("retrain", linear, blank([2, 2], "f"), retain, **{**PLAIN, "epochs": 60, "weight_decay": 0.0})
    np.testing.assert_allclose(special.softmax(result.get_weights()[1]), [0.5, 0.25, 0.25], atol=1e-3)


def test_retraining_knows_nothing_of_the_model_it_is_given(linear, pixels):
    forget, retain = split(pixels)
    first = run("retrain", linear, forget, retain, **PLAIN)
    linear.set_weights([w + 3 for w in linear.get_weights()])
    assert same(first, run("retrain", linear, forget, retain, **PLAIN))


def zeros(seed):
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.set_weights([np.full(w.shape, float(seed)) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("build", [zeros, f"{__name__}:zeros"])
def test_retraining_starts_from_what_build_gives(linear, pixels, build):
    forget, retain = split(pixels)
    expected = by_hand(zeros(5), retain, METHODS["fine_tune"].settings(**PLAIN))
    result = run("retrain", linear, forget, retain, build=build, **PLAIN)
    for got, wanted in zip(result.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-6)


def test_anchored_fine_tuning_ends_where_pull_and_slope_cancel(linear):
    retain = blank([0, 0, 0, 1])
    plain = {**PLAIN, "epochs": 100, "weight_decay": 0.0, "momentum": 0.5}
    result = run("fine_tune_anchored", linear, blank([2], "f"), retain, anchor=0.5, **plain)
    start, end = linear.get_weights()[1], result.get_weights()[1]
    np.testing.assert_allclose(special.softmax(end) - [0.75, 0.25, 0] + 0.5 * (end - start), 0, atol=1e-5)


def test_l1_shrinks_idle_weights_by_rate_times_the_schedule(linear):
    plain = {**PLAIN, "momentum": 0.0, "weight_decay": 0.0, "epochs": 4}
    result = run("l1_sparse", linear, blank([2], "f"), blank([0, 1]), alpha=0.01, no_l1_epochs=2, **plain)
    before, after = linear.get_weights()[0], result.get_weights()[0]
    np.testing.assert_allclose(np.abs(before) - np.abs(after), 0.3 * 0.01 * (1 + 0.5), atol=1e-6)


def test_random_labels_hit_the_true_one_as_often_as_any_unless_excluded(pixels):
    rows = blank([1] * 3000)
    drawn = random_labels(rows, 3, 0, 1)
    # Shares of a third with 3,000 draws have a standard error of 0.9 %; the seed is fixed.
    np.testing.assert_allclose(np.bincount(drawn) / 3000, 1 / 3, atol=0.03)
    other = random_labels(rows, 3, 0, 1, exclude_true=True)
    np.testing.assert_allclose(np.bincount(other) / 3000, [0.5, 0, 0.5], atol=0.03)


def test_random_labels_are_drawn_anew_each_epoch_and_belong_to_the_row():
    rows = blank([0] * 50)
    first, second = (random_labels(rows, 3, epoch, 1) for epoch in (0, 1))
    assert not np.array_equal(first, second)
    half = np.arange(0, 50, 2)
    assert np.array_equal(random_labels(rows.take(half), 3, 0, 1), first[half])


@pytest.mark.parametrize("order", ["sequential", "mixed"])
def test_random_labels_level_what_was_learnt_of_the_forgotten_rows(linear, order):
    forget = Examples(np.ones((60, 2, 2, 1), np.uint8), np.zeros(60, int), np.array([f"f{i}" for i in range(60)]))
    retain = blank([1, 1, 1, 2] * 15)
    plain = {**PLAIN, "epochs": 60, "schedule": "cosine", "weight_decay": 0.0, "momentum": 0.0, "batch": 60}
    result = run("random_labels", linear, forget, retain, order=order, **plain)
    levelled, learnt = special.softmax(np.array(result(np.float32([[[[1]] * 2] * 2, [[[0]] * 2] * 2]))), axis=1)
    np.testing.assert_allclose(levelled, 1 / 3, atol=0.1)
    np.testing.assert_allclose(learnt, [0, 0.75, 0.25], atol=0.1)


def test_boundary_shrink_learns_the_class_across_the_boundary_if_it_is_near():
    """One pixel x in 0..1, logits (x, 1 - x) times 4: the boundary is at 0.5, and FGSM moves by 0.1."""
    model = keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.set_weights([np.array([[4.0, -4.0]]), np.array([0.0, 4.0])])
    x = np.array([0.55, 0.75, 0.45, 0.2], np.float32).reshape(-1, 1, 1, 1)
    forget = Examples(x, np.array([0, 0, 1, 1]), np.array(list("abcd")))
    crossed = dataclasses.replace(forget, labels=np.array([1, 0, 0, 1]))
    result = run("boundary_shrink", model, forget, None, pixel_max=1.0, bound=0.1, **PLAIN)
    w, b = (np.asarray(a, np.float64) for a in model.get_weights())
    v = [0 * w, 0 * b]
    for _ in range(3):
        gap = (softmax(x.reshape(4, 1) @ w + b) - np.eye(2)[crossed.labels]) / 4
        v = [0.9 * v[0] + x.reshape(4, 1).T @ gap + 0.01 * w, 0.9 * v[1] + gap.sum(0) + 0.01 * b]
        w, b = w - 0.3 * v[0], b - 0.3 * v[1]
    np.testing.assert_allclose(result.get_weights()[0], w, atol=3e-6)
    np.testing.assert_allclose(result.get_weights()[1], b, atol=3e-6)


def test_saliency_mask_takes_the_largest_of_all_weights_together():
    mask = saliency_mask([np.array([[0.1, -5.0], [2.0, 0.0]]), np.array([-3.0, 1.0])], 0.5)
    assert mask[0].tolist() == [[False, True], [True, False]]
    assert mask[1].tolist() == [True, False]
    assert sum(m.sum() for m in saliency_mask([np.zeros(7)], 0.5)) == 3


@pytest.mark.parametrize("freeze", ["weights", "gradients"])
def test_salun_moves_the_salient_weights_alone_unless_only_gradients_are_masked(linear, pixels, freeze):
    forget, retain = split(pixels)
    result = run("salun", linear, forget, retain, ratio=0.4, freeze=freeze, **PLAIN)
    x, w = forget.images.reshape(4, 4), linear.get_weights()
    gap = softmax(x @ w[0] + w[1]) - np.eye(3)[forget.labels]
    salient = np.concatenate([np.abs(x.T @ gap).ravel(), np.abs(gap.sum(0))])
    largest = np.isin(np.arange(15), np.argsort(-salient)[:6])
    moved = np.concatenate([(a != b).ravel() for a, b in zip(w, result.get_weights(), strict=True)])
    assert np.array_equal(moved, largest if freeze == "weights" else np.ones(15, bool))


def test_salun_with_all_weights_is_random_labels(linear, pixels):
    forget, retain = split(pixels)
    first, second = (run(name, linear, forget, retain, **PLAIN) for name in ("salun", "random_labels"))
    assert not same(first, second)
    assert same(run("salun", linear, forget, retain, ratio=1.0, **PLAIN), second)


def test_divergence_is_the_softened_one_times_the_temperature_squared():
    teacher, student = np.float32([[2.0, 0.0], [1.0, 1.0]]), np.float32([[0.0, 2.0], [1.0, 1.0]])
    p = 1 / (1 + np.exp(-1))  # softened by 2
    expected = 4 * (p * np.log(p / (1 - p)) + (1 - p) * np.log((1 - p) / p))
    np.testing.assert_allclose(divergence(teacher, student, 2.0), [expected, 0], atol=1e-6)


def test_scrub_without_disobedience_is_fine_tuning_or_standstill(linear, pixels):
    forget, retain = split(pixels)
    tuned = run("fine_tune", linear, forget, retain, **PLAIN)
    result = run("scrub", linear, forget, retain, max_epochs=0, alpha=0.0, gamma=1.0, **PLAIN)
    for got, wanted in zip(result.get_weights(), tuned.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    still = run("scrub", linear, forget, retain, max_epochs=0, alpha=1.0, gamma=0.0, **{**PLAIN, "weight_decay": 0.0})
    for got, wanted in zip(still.get_weights(), linear.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_scrub_drives_the_forgotten_rows_from_the_teacher_and_keeps_the_retained_ones(linear, pixels):
    forget, retain = split(pixels)
    plain = {**PLAIN, "weight_decay": 0.0, "epochs": 8, "alpha": 1.0, "gamma": 0.1}
    result = run("scrub", linear, forget, retain, max_epochs=6, temperature=1.0, **plain)
    gaps = [np.mean(divergence(linear(r.images), result(r.images), 1.0)) for r in (forget, retain)]
    obedient = run("scrub", linear, forget, retain, max_epochs=0, temperature=1.0, **plain)
    assert gaps[0] > 2 * np.mean(divergence(linear(forget.images), obedient(forget.images), 1.0))
    assert gaps[0] > gaps[1]


def deep(seed):
    layers = [keras.Input((2, 2, 1)), keras.layers.Conv2D(3, 2), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    generator = np.random.default_rng(seed)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    return model


def test_eu_k_forgets_the_last_layer_altogether_and_keeps_the_first(pixels):
    forget, retain = split(pixels)
    first, second = deep(0), deep(1)
    second.layers[0].set_weights(first.layers[0].get_weights())
    results = [run("eu_k", model, forget, retain, k=1, **PLAIN) for model in (first, second)]
    assert same(*results)
    assert np.array_equal(results[0].get_weights()[0], first.get_weights()[0])


def test_cf_k_of_all_layers_is_fine_tuning(pixels):
    forget, retain = split(pixels)
    model = deep(0)
    assert same(
        run("cf_k", model, forget, retain, k=9, clip=0.0, **PLAIN), run("fine_tune", model, forget, retain, **PLAIN)
    )


def test_probabilities_are_unlearnt_as_their_logits_are(linear, pixels):
    forget, retain = split(pixels)
    layers = [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    model = keras.Sequential(layers)
    model.set_weights(linear.get_weights())
    for name in ("fine_tune", "retrain"):
        method = METHODS[name]
        result = method.unlearn(model, forget, retain, method.settings(**PLAIN), 5, from_logits=False)
        assert type(result) is keras.Sequential
        expected = run(name, linear, forget, retain, **PLAIN)
        for got, wanted in zip(result.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(got, wanted, atol=3e-6)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("fine_tune_anchored", dict(anchor=-1)),
        ("l1_sparse", dict(alpha=-1)),
        ("l1_sparse", dict(no_l1_epochs=10)),
        ("salun", dict(ratio=0)),
        ("salun", dict(ratio=1.1)),
        ("random_labels", dict(order="shuffled")),
        ("scrub", dict(max_epochs=4)),
        ("scrub", dict(temperature=0)),
        ("boundary_shrink", dict(bound=0)),
        ("cf_k", dict(k=0)),
        ("eu_k", dict(k=-1)),
        ("amun", dict(already_wrong="keep")),
        ("amun", dict(ratio=0)),
    ],
)
def test_settings_out_of_range_are_refused(name, wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        METHODS[name].settings(**wrong)
