import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.diffusion.private import PrivateSettings, epsilon_spent
from tfpdu.experiments.private_head import PrivateHeadSettings, clipped_sum, learn_private_head, most_success

QUIET = PrivateHeadSettings(PrivateSettings(epsilon=0.0), batch=30, steps=40, learning_rate=1.0)


def table(n=60, views=3, d=5, seed=0):
    """Two classes apart in the first feature, in a few views."""
    draw = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = draw.normal(size=(n, views, d))
    features[..., 0] += 4.0 * (2 * labels - 1)[:, None]
    return features, labels, [f"row {i}" for i in range(n)]


def test_a_clipped_sum_worked_by_hand():
    """Weights 0: probabilities are 1/2. Features (3, 4) become (0.6, 0.8, 1), of norm sqrt 2; errors are (1/2, -1/2)
    or (-1/2, 1/2), of norm sqrt(1/2). So each gradient has norm 1; cut to 1/2 it is halved."""
    features, targets = np.array([[3.0, 4.0], [-3.0, 4.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    first, second = np.array([0.6, 0.8, 1.0]), np.array([-0.6, 0.8, 1.0])
    error = np.array([0.5, -0.5])
    whole = np.outer(first, error) + np.outer(second, -error)
    np.testing.assert_allclose(clipped_sum(np.zeros((3, 2)), features, targets, 1.0), whole, atol=1e-12)
    np.testing.assert_allclose(clipped_sum(np.zeros((3, 2)), features, targets, 0.5), whole / 2, atol=1e-12)


@given(st.integers(0, 2**32), st.floats(0.05, 3.0))
def test_no_row_moves_the_sum_by_more_than_the_clipping_norm(seed, clip_norm):
    draw = np.random.default_rng(seed)
    weights, features = draw.normal(size=(5, 3)), 10 * draw.normal(size=(6, 4))
    targets = np.eye(3)[draw.integers(0, 3, 6)]
    with_all = clipped_sum(weights, features, targets, clip_norm)
    without = clipped_sum(weights, features[1:], targets[1:], clip_norm)
    assert np.linalg.norm(with_all - without) <= clip_norm * (1 + 1e-9)


def test_without_noise_it_learns_what_can_be_learned():
    features, labels, ids = table()
    head = learn_private_head(features, labels, 2, ids, QUIET, "key")
    assert head.privacy is None
    assert (head.probabilities(features[:, 0]).argmax(1) == labels).mean() == 1


def test_the_order_of_rows_does_not_matter_and_the_key_does():
    features, labels, ids = table()
    settings = dataclasses.replace(QUIET, private=PrivateSettings(epsilon=4.0, delta=1e-3))
    head = learn_private_head(features, labels, 2, ids, settings, "key")
    turned = learn_private_head(features[::-1], labels[::-1], 2, ids[::-1], settings, "key")
    assert np.array_equal(head.weights, turned.weights)
    other = learn_private_head(features, labels, 2, ids, settings, "another")
    assert not np.allclose(head.weights, other.weights)


def test_the_noise_is_what_the_accounting_asks_for():
    """Rows without features of their own and one class: gradients are 0, and the weights are the noise alone."""
    n, steps, batch, rate = 400, 50, 40, 0.5
    private = PrivateSettings(epsilon=2.0, delta=1e-4, clip_norm=0.7)
    settings = PrivateHeadSettings(private, batch, steps, rate)
    head = learn_private_head(
        np.zeros((n, 1, 300)), np.zeros(n, int), 1, [f"row {i}" for i in range(n)], settings, "key"
    )
    spent = head.privacy
    assert spent.epsilon == epsilon_spent(spent.noise_multiplier, 1e-4, batch / n, steps) <= 2.0
    expected = rate / batch * spent.noise_multiplier * 0.7 * math.sqrt(steps)
    assert head.weights.std() == pytest.approx(expected, rel=0.15)  # of 301 draws: 3.7 deviations


def test_the_most_success_is_one_half_without_epsilon_and_one_without_end():
    assert most_success(0.0, 0.0) == 0.5
    assert most_success(0.0, 0.2) == pytest.approx(0.6)
    assert most_success(50.0, 0.0) == pytest.approx(1.0)
    # Randomised response tells the truth with e^eps / (1 + e^eps), and so does the best guess of it.
    assert most_success(math.log(3), 0.0) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"features": np.zeros((60, 5))}, r"expected \[n, views, d\]"),
        ({"features": np.full((60, 3, 5), np.nan)}, "not finite"),
        ({"labels": np.zeros(3, int)}, "with n labels"),
        ({"settings": dataclasses.replace(QUIET, batch=61)}, "more than the 60 rows"),
        ({"settings": dataclasses.replace(QUIET, private=PrivateSettings(epsilon=1.0, delta=0.5))}, "private.delta"),
    ],
)
def test_bad_input_is_named(change, words):
    features, labels, ids = table()
    given = {"features": features, "labels": labels, "classes": 2, "ids": ids, "settings": QUIET, "key": "key"}
    with pytest.raises(UserError, match=words):
        learn_private_head(**{**given, **change})


def test_settings_out_of_range_are_named():
    with pytest.raises(UserError, match="learning_rate"):
        PrivateHeadSettings(PrivateSettings(), learning_rate=0.0)
