"""Adversarial pictures: known distances for a linear model, and their properties for a network."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unlearning.methods.test_descent import by_hand
from tfpdu.common import UserError
from tfpdu.common.files import weights_hash
from tfpdu.ensemble.networks import answers
from tfpdu.testing import memorised_rows, memorising_network
from tfpdu.unlearning.methods import METHODS, AttackSettings, Examples, build_adversaries, concatenate
from tfpdu.unlearning.methods.adversaries import fgsm

PGD = AttackSettings(epsilon=0.01, batch=16)


@pytest.fixture(scope="module")
def rows():
    return concatenate(memorised_rows())


@pytest.fixture(scope="module")
def made(rows):
    return build_adversaries(memorising_network(), rows, PGD)


def half_space(weights, offset):
    """Two classes on either side of weights * x = offset, for pictures [1, 2, 1] in 0..1."""
    model = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.set_weights([np.stack([weights, -np.array(weights)], 1), np.array([-offset, offset])])
    return model


def dots(x):
    return Examples(
        np.array(x, np.float32).reshape(-1, 1, 2, 1), np.zeros(len(x), int), np.array([f"d{i}" for i in range(len(x))])
    )


def test_epsilon_is_the_first_of_the_doubling_sequence_beyond_the_distance_to_a_plane():
    x = np.random.default_rng(0).uniform(0.3, 0.7, (60, 2))
    distance = np.abs(np.array(x) @ [3.0, 4.0] - 3.5) / 5
    attack = AttackSettings(epsilon=0.01, pixel_max=1.0, batch=16)
    powers = np.log2(np.maximum(distance, 1e-9) / 0.01)
    found = build_adversaries(half_space([3.0, 4.0], 3.5), dots(x), attack)
    epsilon = 0.01 * 2.0 ** np.maximum(np.ceil(powers), 0)
    clear = np.abs(powers - np.round(powers)) > 1e-3  # where rounding cannot decide
    assert len(found.examples) == len(x)
    assert not len(found.failed)
    np.testing.assert_allclose(found.epsilon[clear], epsilon[clear])


def test_fgsm_epsilon_is_the_first_beyond_the_distance_along_the_signs():
    x = [(0.5, 0.51), (0.5, 0.56), (0.5, 0.65)]  # 4 * (.01, .06, .15) / 7 = .006, .034, .086
    attack = AttackSettings(attack="fgsm", epsilon=0.01, pixel_max=1.0)
    found = build_adversaries(half_space([3.0, 4.0], 3.5), dots(x), attack)
    np.testing.assert_allclose(found.epsilon, [0.01, 0.04, 0.16])
    np.testing.assert_allclose(found.examples.images[0].ravel(), [0.49, 0.5], atol=1e-6)
    assert found.passes == 3 + (1 + 3 + 5)


def test_fgsm_steps_along_the_sign_and_stays_within_the_pixels():
    moved = fgsm(half_space([3.0, -4.0], 0.0), dots([(0.9, 0.05), (0.5, 0.6)]).images, np.array([1, 1]), 0.1, 1.0)
    np.testing.assert_allclose(moved.reshape(2, 2), [[1, 0], [0.6, 0.5]], atol=1e-6)


def test_every_picture_is_called_something_else_and_bears_that_label(rows, made):
    assert len(made.examples) == len(rows)
    own = dict(zip(rows.ids, answers(memorising_network(), rows.images).argmax(1), strict=True))
    given_labels = answers(memorising_network(), made.examples.images).argmax(1)
    assert np.array_equal(given_labels, made.examples.labels)
    assert all(own[i] != label for i, label in zip(made.sources, given_labels, strict=True))


def test_every_picture_lies_within_its_radius_and_the_pixels(rows, made):
    start = rows.take(np.array([list(rows.ids).index(i) for i in made.sources])).images.astype(np.float64)
    distance = np.sqrt(((made.examples.images.astype(np.float64) - start) ** 2).sum((1, 2, 3)))
    assert np.all(distance <= made.epsilon * 255 * (1 + 1e-6))
    assert made.examples.images.min() >= 0
    assert made.examples.images.max() <= 255


@pytest.mark.slow
def test_no_smaller_radius_of_the_sequence_would_have_done(rows, made):
    for epsilon in np.unique(made.epsilon)[1:]:
        needed = rows.take(np.isin(rows.ids, made.sources[made.epsilon == epsilon]))
        smaller = dataclasses.replace(PGD, epsilon=epsilon / 2, max_epsilon=epsilon / 2)
        assert not len(build_adversaries(memorising_network(), needed, smaller).examples)
    assert len(np.unique(made.epsilon)) > 2


def naive_passes(model, rows, attack):
    """Algorithm 1 row by row, restarting at each radius, counting the passes that it cannot do without."""
    count = 0
    for image in np.asarray(rows.images, np.float32):
        now, label, radius, found = image[None], None, attack.epsilon, False
        while not found:
            now = image[None]
            for turn in range(attack.steps + 1):
                with tf.GradientTape() as tape:
                    x = tf.constant(now)
                    tape.watch(x)
                    logits = model(x, training=False)
                    label = int(tf.argmax(logits[0])) if label is None else label
                    loss = tf.nn.sparse_softmax_cross_entropy_with_logits([label], logits)
                count += 1
                found = int(tf.argmax(logits[0])) != label
                if found or turn == attack.steps:
                    break
                g = tape.gradient(loss, x).numpy()
                shift = now + radius / 10 * g / np.linalg.norm(g) - image
                now = np.clip(image + shift * min(1, radius / np.linalg.norm(shift)), 0, 1)
            radius *= 2
    return count


def test_no_pass_is_wasted_on_rows_that_are_done():
    model, x = half_space([3.0, 4.0], 3.5), dots([(0.5, 0.6), (0.5, 0.8), (0.45, 0.5), (0.5, 0.51), (0.3, 0.7)])
    attack = AttackSettings(epsilon=0.04, steps=12, batch=2, pixel_max=1.0)
    needed = naive_passes(model, x, attack)
    assert needed > 50
    assert build_adversaries(model, x, attack).passes == needed


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_batch(rows, made):
    small = build_adversaries(memorising_network(), rows, dataclasses.replace(PGD, batch=11))
    assert np.array_equal(small.epsilon, made.epsilon)
    assert small.passes == made.passes
    np.testing.assert_allclose(small.examples.images, made.examples.images, atol=1e-2)


def constant():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.set_weights([0 * model.get_weights()[0], np.array([0.0, 9.0, 0.0])])
    return model


@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
def test_rows_without_a_gradient_are_given_up_at_the_ceiling(rows, attack):
    found = build_adversaries(constant(), rows, AttackSettings(attack=attack, max_epsilon=0.1, steps=3))
    assert len(found.examples) == 0
    assert found.failed.tolist() == rows.ids.tolist()
    forget, retain = memorised_rows()
    with pytest.raises(UserError, match="no adversarial picture for any of 9 rows"):
        METHODS["amun"].unlearn(constant(), forget, retain, METHODS["amun"].settings(attack=PGD_SHORT))


PGD_SHORT = AttackSettings(max_epsilon=0.04, steps=2)


def amun(model, forget, retain, **changes):
    method = METHODS["amun"]
    return method.unlearn(model, forget, retain, method.settings(epochs=2, learning_rate=0.02, **changes), seed=1)


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


@pytest.mark.slow
def test_given_adversaries_are_used_as_those_made_on_the_spot(made):
    forget, retain = memorised_rows()
    on_the_spot = amun(memorising_network(), forget, retain, attack=PGD)
    before = amun(memorising_network(), forget, retain, adversaries=made)
    for first, second in zip(on_the_spot.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-3)  # made in other batches, so rounded otherwise


def test_adversaries_of_an_earlier_model_are_refused_unless_asked_for(made):
    forget, retain = memorised_rows()
    first = amun(memorising_network(), forget.take(np.arange(4)), retain, adversaries=made)
    assert weights_hash(first) != made.model
    rest = forget.take(np.arange(4, 9))
    with pytest.raises(UserError, match="another model made them"):
        amun(first, rest, retain, adversaries=made)
    assert not same(amun(first, rest, retain, adversaries=made, adaptive=False), first)


@pytest.mark.parametrize(
    ("with_retain", "with_forget"),
    [
        (True, True),
        *(pytest.param(*way, marks=pytest.mark.slow) for way in ((True, False), (False, True), (False, False))),
    ],
)
def test_amun_takes_the_steps_worked_by_hand_on_what_it_should(linear, pixels, with_retain, with_forget):
    forget, retain = pixels.take(np.arange(4)), pixels.take(np.arange(4, 12)) if with_retain else None
    attack = AttackSettings(pixel_max=1.0, epsilon=0.1)
    settings = METHODS["amun"].settings(epochs=3, batch=40, attack=attack, with_forget=with_forget)
    adversarial = build_adversaries(linear, forget, attack).examples
    assert len(adversarial) > 1
    parts = [adversarial, *([forget] if with_forget else []), *([retain] if retain else [])]
    expected = by_hand(linear, concatenate(parts), settings)
    result = METHODS["amun"].unlearn(linear, forget, retain, settings, seed=5)
    for got, wanted in zip(result.get_weights(), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=3e-6)


def test_amun_with_saliency_moves_a_share_of_the_weights(made):
    forget, retain = memorised_rows()
    result = amun(memorising_network(), forget, retain, adversaries=made, ratio=0.5)
    before = _weights(memorising_network())
    changed = sum((a != b).sum() for a, b in zip(_weights(result), before, strict=True))
    assert 0.3 * sum(w.size for w in before) < changed <= 0.5 * sum(w.size for w in before)


def _weights(model):
    return [w.numpy() for w in model.trainable_weights]


def test_rows_that_the_model_has_wrong_are_attacked_or_dropped(made):
    forget, retain = memorised_rows()
    wrong = dataclasses.replace(forget, labels=(forget.labels + (np.arange(9) < 4)) % 3)
    attacked = amun(memorising_network(), wrong, retain, adversaries=made)
    dropped = amun(memorising_network(), wrong, retain, adversaries=made, already_wrong="drop")
    assert not same(attacked, dropped)
    # None is left of those that are to be forgotten: the same as if there were none.
    with pytest.raises(UserError, match="no adversarial picture"):
        amun(memorising_network(), wrong.take(np.arange(4)), retain, adversaries=made, already_wrong="drop")


@pytest.mark.parametrize(
    "wrong", [dict(attack="cw"), dict(epsilon=0), dict(steps=0), dict(max_epsilon=0.01), dict(pixel_max=-1)]
)
def test_attack_settings_out_of_range_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        AttackSettings(**wrong)
