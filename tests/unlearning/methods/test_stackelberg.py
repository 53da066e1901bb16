"""The auditor against scikit-learn and finite differences; the game against fine-tuning."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from tests.unlearning.methods.test_descent import by_hand
from tfpdu.common import UserError
from tfpdu.unlearning.methods import METHODS, Examples
from tfpdu.unlearning.methods.auditor import auditor_gain, solve_auditor
from tfpdu.unlearning.methods.stackelberg import audited

RIDGE = 0.02


def crowd(n=40, k=3, seed=0, apart=1.0):
    """Features of members and strangers, who is who, and who is fitted on."""
    generator = np.random.default_rng(seed)
    members = (np.arange(n) % 2).astype(float)
    features = generator.normal(size=(n, k)) * 2 + 1
    features[:, 0] += apart * members
    return features, members, (np.arange(n) // 2 % 2).astype(float)


def test_auditor_is_the_optimum_of_its_loss():
    features, members, _ = crowd()
    found = solve_auditor(tf.constant(features), tf.constant(members), tf.constant(np.full(40, 1 / 40)), RIDGE)
    other = LogisticRegression(C=1 / (40 * RIDGE), fit_intercept=False, tol=1e-10, max_iter=1000)
    np.testing.assert_allclose(found, other.fit(features, members).coef_[0], atol=1e-5)


@pytest.mark.parametrize("apart", [0.3, 3.0, 30.0])
def test_gradient_of_the_gain_counts_the_auditors_answer(apart):
    features, members, training = crowd(apart=apart)
    x = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(x)
        gain = auditor_gain(x, members, training, RIDGE)
    found = tape.gradient(gain, x).numpy()
    for row, column in [(0, 0), (1, 0), (2, 1), (3, 2), (7, 0)]:
        moved = []
        for sign in (1, -1):
            turned = features.copy()
            turned[row, column] += sign * 1e-5
            moved.append(float(auditor_gain(tf.constant(turned), members, training, RIDGE)))
        assert found[row, column] == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-4, abs=1e-9)
    assert np.abs(found[training == 1]).max() > 1e-4  # rows that are only fitted on matter through the answer alone


def test_gain_is_0_for_a_coin_and_nears_log_2_for_a_sure_auditor():
    far = [float(auditor_gain(*map(tf.constant, crowd(apart=apart)), 1e-4)) for apart in (0.0, 100.0)]
    assert far[0] < 0.05
    assert np.log(2) - 0.1 < far[1] < np.log(2)


def test_gain_does_not_depend_on_units_or_on_how_many_of_each_there_are():
    features, members, training = crowd()
    gain = float(auditor_gain(*map(tf.constant, (features, members, training)), RIDGE))
    scaled = float(auditor_gain(*map(tf.constant, (features * [10, 0.1, -3] + 5, members, training)), RIDGE))
    assert gain == pytest.approx(scaled, rel=1e-4)
    repeated = np.concatenate([np.arange(40), np.flatnonzero(members == 1)])
    again = float(auditor_gain(*(tf.constant(a[repeated]) for a in (features, members, training)), RIDGE))
    assert gain == pytest.approx(again, rel=1e-9)


def test_a_batch_without_strangers_has_no_gain_and_no_slope():
    features, members, training = crowd()
    x = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(x)
        gain = auditor_gain(x, 0 * members + 1, training, RIDGE)
    assert float(gain) == 0
    assert not tape.gradient(gain, x).numpy().any()


def test_audited_loss_sees_the_logits_and_the_loss():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20, 3)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[np.arange(20) % 3]
    member, half = (np.arange(20) % 2)[:, None], (np.arange(20) // 2 % 2)[:, None]
    losses = np.log(np.exp(logits).sum(1)) - (logits * labels).sum(1)
    for features, seen in (("logits", np.column_stack([logits, losses])), ("loss", losses[:, None])):
        targets = tf.constant(np.concatenate([labels, member, half], 1), tf.float32)
        found = audited(features, 3.0, RIDGE, tf.constant(logits), targets)
        expected = 3 * float(auditor_gain(tf.constant(seen), member[:, 0], half[:, 0], RIDGE))
        np.testing.assert_allclose(found, np.full(20, expected), rtol=1e-4)


def parts():
    generator = np.random.default_rng(0)

    def rows(n, name, shift):
        images = (generator.normal(size=(n, 2, 2, 1)) + shift).astype(np.float32)
        return Examples(images, np.arange(n) % 3, np.array([f"{name}{i:02d}" for i in range(n)]))

    return rows(16, "f", 1.0), rows(24, "r", 0.0), rows(16, "s", 0.0)


def game(model, **changes):
    forget, retain, strangers = parts()
    plain = dict(epochs=3, learning_rate=0.3, batch=40, schedule="constant", nonmembers=strangers)
    settings = METHODS["stackelberg"].settings(**{**plain, **changes})
    return METHODS["stackelberg"].unlearn(model, forget, retain, settings, seed=5), settings


def gain_of(model):
    forget, _, strangers = parts()
    logits = np.concatenate([model(forget.images), model(strangers.images)])
    members, half = (np.arange(32) < 16).astype(float), (np.arange(32) % 2).astype(float)
    return float(auditor_gain(tf.constant(logits), members, half, RIDGE))


@pytest.mark.slow
def test_without_an_auditor_the_game_is_fine_tuning(linear):
    result, settings = game(linear, alpha=0.0, momentum=0.0, weight_decay=0.0)
    expected = by_hand(linear, parts()[1], settings)
    for got, wanted in zip(result.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-6)


@pytest.mark.slow
def test_playing_the_game_leaves_the_auditor_less(linear):
    tuned, _ = game(linear, alpha=0.0, epochs=15)
    played, _ = game(linear, alpha=3.0, epochs=15)
    assert gain_of(tuned) > 0.05
    assert gain_of(played) < 0.5 * gain_of(tuned)


def test_strangers_are_needed_and_must_be_strangers(linear):
    forget, _, strangers = parts()
    for wrong, what in (
        (None, "needs rows that the model has not seen"),
        (forget, "'f00' is a row to forget"),
        (dataclasses.replace(strangers, labels=strangers.labels + 1), "classes 0 to 2"),
    ):
        with pytest.raises(UserError, match=what):
            game(linear, nonmembers=wrong)


def test_more_than_eleven_features_are_refused():
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(11)])
    with pytest.raises(UserError, match="11 logits and a loss are more than 11; choose 'loss'"):
        game(model)
    game(model, features="loss")
