"""Accuracy under attack: exact for linear models, telling where gradients are masked, at no needless cost."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.audit import (
    ROBUSTNESS_ATTACKS,
    Robustness,
    RobustnessAttack,
    clopper_pearson,
    gradient_masking,
    robust_accuracy,
)
from tfpdu.audit.ball import ascend
from tfpdu.audit.walks import GradientWalk, SquareWalk
from tfpdu.common import UserError

SHAPE = (4, 4, 2)


def in_unit(**changes):
    return RobustnessAttack(**{"pixel_max": 1.0, "batch": 16, **changes})


@keras.saving.register_keras_serializable("tests")
class Rounded(keras.layers.Layer):
    """Pixels rounded to sixteenths: nothing has a gradient then."""

    def call(self, x):
        return keras.ops.round(x * 16) / 16


def plane(weights, offset, *first):
    """Two classes on either side of weights * x = offset; logits are plus and minus the difference."""
    model = keras.Sequential([keras.Input(SHAPE), *first, keras.layers.Flatten(), keras.layers.Dense(2)])
    model.set_weights([np.stack([weights, -weights], 1), np.array([-offset, offset])])
    return model


@pytest.fixture(scope="module")
def problem():
    """Weights, offset, pictures far from the ends of the pixels, and labels, of which about a tenth is wrong."""
    generator = np.random.default_rng(0)
    weights = generator.normal(size=32)
    images = generator.uniform(0.3, 0.7, (60, *SHAPE)).astype(np.float32)
    offset = float(0.5 * weights.sum())
    margins = images.reshape(60, -1) @ weights - offset
    labels = (margins < 0).astype(int) ^ (generator.uniform(size=60) < 0.1)
    return weights, offset, images, labels


def signed_margins(problem):
    weights, offset, images, labels = problem
    return (images.reshape(len(images), -1).astype(np.float64) @ weights - offset) * (1 - 2 * labels)


ATTACKS = {
    "fgsm": in_unit(kind="fgsm", epsilon=0.02),
    "pgd": in_unit(epsilon=0.02),
    "pgd without a random start": in_unit(epsilon=0.02, random_start=False),
    "pgd l2": in_unit(norm="l2", epsilon=0.1),
    "square": in_unit(kind="square", epsilon=0.02, queries=200),
}


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_linear_model_has_the_accuracy_of_its_margins_over_the_dual_norm(problem, name):
    """A row stays right exactly where its margin exceeds epsilon times the weights' L1 norm, for L2 their L2."""
    attack, margins = ATTACKS[name], signed_margins(problem)
    dual = np.abs(problem[0]).sum() if attack.norm == "linf" else np.linalg.norm(problem[0])
    clear = np.abs(margins - attack.epsilon * dual) > 1e-3 * attack.epsilon * dual
    found = robust_accuracy(plane(*problem[:2]), *problem[2:], attack)
    assert clear.sum() >= 58
    np.testing.assert_array_equal(found.outcomes[clear], (margins > attack.epsilon * dual)[clear])
    assert found.clean_accuracy == pytest.approx((margins > 0).mean())
    assert 0.2 < found.accuracy == found.outcomes.mean() < found.clean_accuracy - 0.2
    assert (found.ci_low, found.ci_high) == clopper_pearson(int(found.outcomes.sum()), 60)
    assert (found.n, found.attack) == (60, attack)
    part = found.part(np.arange(60) < 20)
    assert (part.n, part.accuracy) == (20, found.outcomes[:20].mean())
    assert (part.clean_accuracy, part.queries) == ((margins[:20] > 0).mean(), found.asked[:20].sum())
    assert part.ci_low < part.accuracy < part.ci_high


def test_rounded_pixels_hide_from_gradients_and_not_from_squares(problem):
    """With rounding, the worst picture is the ball's corner against the weights, so the exact accuracy is known."""
    weights, offset, images, _ = problem
    model, epsilon = plane(weights, offset, Rounded()), 0.07
    right = np.asarray(model(images)).argmax(1)
    corner = np.clip(images - epsilon * (np.sign(weights).reshape(SHAPE) * (1 - 2 * right)[:, None, None, None]), 0, 1)
    worst = np.asarray(model(corner.astype(np.float32))).argmax(1) == right
    by_gradient = robust_accuracy(model, images, right, in_unit(epsilon=epsilon))
    free = robust_accuracy(model, images, right, in_unit(kind="square", epsilon=epsilon, queries=200))
    assert by_gradient.accuracy > 0.6
    assert free.accuracy == worst.mean() < 0.2
    assert "masked gradients: square without gradients beats" in gradient_masking(by_gradient, free)
    plain = [robust_accuracy(plane(weights, offset), images, right, ATTACKS[name]) for name in ("pgd", "square")]
    assert gradient_masking(*plain) == ""


def outcome(held, kind="pgd", **changes):
    held = np.array(held, bool)
    return Robustness(RobustnessAttack(kind, **changes), held | True, held, held + 1)


@pytest.mark.parametrize(("lost", "warns"), [(4, False), (5, True)])  # chances of 1/16 and 1/32
def test_masking_needs_five_rows_more_where_there_is_no_other_sign(lost, warns):
    line = gradient_masking(outcome([1] * 20), outcome([0] * lost + [1] * (20 - lost), "square"))
    assert bool(line) == warns
    assert "\n" not in line
    against = gradient_masking(outcome([1] * 19 + [0]), outcome([0] * lost + [1] * (20 - lost), "square"))
    assert not against  # 5 against 1: 7/64


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (outcome([1], "square"), outcome([1], "square")),
        (outcome([1]), outcome([1])),
        (outcome([1]), outcome([1, 1], "square")),
        (outcome([1], norm="l2"), outcome([1], "square")),
        (outcome([1], epsilon=0.01), outcome([1], "square", epsilon=0.02)),
    ],
)
def test_masking_compares_the_same_rows_and_ball_only(first, second):
    with pytest.raises(UserError, match="gradient_masking: expected"):
        gradient_masking(first, second)


@pytest.fixture(scope="module")
def curved():
    """A small network with probabilities or logits, and rows that it has right."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Rescaling(4.0), keras.layers.Conv2D(6, 3, activation="tanh"),
         keras.layers.Flatten(), keras.layers.Dense(3)]
    )  # fmt: skip
    images = np.random.default_rng(2).uniform(0, 1, (40, *SHAPE)).astype(np.float32)
    return model, images, np.asarray(model(images)).argmax(1)


CURVED = [
    in_unit(epsilon=0.05, steps=5),
    in_unit(norm="l2", epsilon=0.3, steps=5),
    in_unit(kind="square", epsilon=0.08, queries=20),
]


@pytest.mark.parametrize("attack", CURVED, ids=lambda attack: f"{attack.kind} {attack.norm}")
def test_outcomes_depend_on_seed_and_row_and_on_nothing_else(curved, attack):
    model, images, labels = curved
    ids = np.array([f"row{i}" for i in range(40)])
    order = np.random.default_rng(3).permutation(40)
    whole, again = (robust_accuracy(model, images, labels, attack, ids=ids) for _ in range(2))
    part, small = order[:25], dataclasses.replace(attack, batch=7)
    other = robust_accuracy(model, images[part], labels[part], small, ids=ids[part])
    assert np.array_equal(whole.outcomes, again.outcomes)
    assert whole.queries == again.queries
    assert np.array_equal(whole.outcomes[part], other.outcomes)
    assert 0 < whole.accuracy < 1
    unnamed = robust_accuracy(model, images, labels, small)
    assert np.array_equal(
        unnamed.outcomes[order], robust_accuracy(model, images[order], labels[order], attack).outcomes
    )
    reseeded = robust_accuracy(model, images, labels, dataclasses.replace(attack, seed=1), ids=ids)
    assert reseeded.queries != whole.queries


@pytest.mark.parametrize("attack", CURVED, ids=lambda attack: f"{attack.kind} {attack.norm}")
def test_probabilities_and_other_pixel_units_give_the_same(curved, attack):
    model, images, labels = curved
    expected = robust_accuracy(model, images, labels, attack)
    softmax = keras.Sequential([keras.Input(SHAPE), model, keras.layers.Softmax()])
    said = robust_accuracy(softmax, images, labels, attack, from_logits=False)
    assert np.array_equal(said.outcomes, expected.outcomes)
    grey = np.rint(images * 255).astype(np.uint8)
    units, bytes_ = grey.astype(np.float32) / 255, dataclasses.replace(attack, pixel_max=255.0)
    ids = [f"{i}" for i in range(40)]
    scaled = keras.Sequential([keras.Input(SHAPE), keras.layers.Rescaling(1 / 255), model])
    in_bytes = robust_accuracy(scaled, grey, labels, bytes_, ids=ids)
    assert np.array_equal(in_bytes.outcomes, robust_accuracy(model, units, labels, attack, ids=ids).outcomes)


def watched(monkeypatch, kind):
    """The numbers of pictures in each call."""
    sizes, turn = [], kind.turn

    def counting(self, labels, state):
        sizes.append(len(labels))
        return turn(self, labels, state)

    monkeypatch.setattr(kind, "turn", counting)
    return sizes


def test_fgsm_asks_twice_about_each_row_that_is_right(problem, monkeypatch):
    sizes = watched(monkeypatch, GradientWalk)
    found = robust_accuracy(plane(*problem[:2]), *problem[2:], ATTACKS["fgsm"])
    right = round(60 * found.clean_accuracy)
    assert right < 60
    assert found.queries == 60 + sum(sizes) == 60 + 2 * right


@pytest.mark.parametrize(("kind", "walk"), [("pgd", GradientWalk), ("square", SquareWalk)])
def test_rows_that_are_beaten_cost_no_more_and_make_room(problem, monkeypatch, kind, walk):
    weights, offset, images, labels = problem
    sizes = watched(monkeypatch, walk)
    attack = in_unit(kind=kind, epsilon=0.02, queries=21, steps=20, batch=8)
    found = robust_accuracy(plane(weights, offset), images, labels, attack)
    survivors, right = int(found.outcomes.sum()), round(60 * found.clean_accuracy)
    assert 21 * survivors + (right - survivors) <= sum(sizes) < 21 * right
    assert found.queries == 60 + sum(sizes)
    tail = sizes.index(next(size for size in sizes if size < 8))
    assert sizes[:tail] == [8] * tail
    assert len(sizes) - tail <= 21  # once a call is not full, nobody waits
    sizes.clear()
    robust_accuracy(plane(weights, offset), images, 1 - labels, attack)  # those that are wrong are never asked about
    assert sum(sizes) < 21 * (60 - right) + 1


def test_squares_shrink_as_the_authors_do():
    walk = SquareWalk(lambda x, training: x[:, 0, 0], RobustnessAttack("square", queries=10_000), (32, 32, 3), True)
    sides = walk.side(np.array([0, 1, 11, 12, 51, 52, 202, 502, 1002, 2002, 4002, 6002, 9_999]))
    # round(32 * sqrt(.8 / 2^k)), after 10, 50, 200, 500, 1000, 2000, 4000, 6000 of 10,000; k = 9 from 8001 on
    assert sides.tolist() == [29, 29, 29, 20, 20, 14, 10, 7, 5, 4, 3, 2, 1]
    assert SquareWalk(walk, RobustnessAttack("square"), (1, 3, 1), True).side(np.array([1])).tolist() == [1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32), norm=st.sampled_from(["linf", "l2"]), radius=st.floats(1e-3, 2.0),
    step=st.floats(1e-3, 3.0), most=st.sampled_from([1.0, 255.0]),
)  # fmt: skip
def test_no_step_leads_out_of_the_ball_or_the_pixels(seed, norm, radius, step, most):
    draw = np.random.default_rng(seed)
    start = draw.uniform(0, most, (3, 2, 2, 1)).astype(np.float32)
    now, radii = start, np.array([0.5, 1.0, 2.0]) * radius * most
    for _ in range(3):
        gradient = draw.normal(size=start.shape).astype(np.float32)
        now = ascend(start, now, gradient, step * most, radii.astype(np.float32), most, norm).numpy()
    shift = (now.astype(np.float64) - start).reshape(3, -1)
    lengths = np.abs(shift).max(1) if norm == "linf" else np.sqrt((shift**2).sum(1))
    assert (lengths <= radii + 2e-7 * most).all()
    assert lengths.max() > 0
    assert now.min() >= 0
    assert now.max() <= most


@pytest.mark.parametrize("attack", [in_unit(epsilon=0.1), in_unit(norm="l2", epsilon=0.1)])
def test_random_starts_fill_the_ball(attack):
    walk = GradientWalk(lambda x, training: x[:, 0, 0], attack, (2, 1, 1), True)
    _, now, _ = walk.begin(np.full((2000, 2, 1, 1), 0.5, np.float32), np.arange(2000).astype(np.uint64))
    shift = now.reshape(2000, 2) - 0.5
    if attack.norm == "linf":
        assert np.abs(shift).max() <= 0.1
        inner = (np.abs(shift).max(1) < 0.05).mean()
    else:
        assert np.linalg.norm(shift, axis=1).max() <= 0.1
        inner = (np.linalg.norm(shift, axis=1) < 0.05).mean()
    assert inner == pytest.approx(0.25, abs=0.04)  # half the radius, a quarter of the area; 4 standard errors of .0097


def test_the_stripes_are_corners_of_the_ball_column_by_column():
    walk = SquareWalk(lambda x, training: x[:, 0, 0], in_unit(kind="square", epsilon=0.1), (5, 40, 3), True)
    start, best, *_ = walk.begin(np.full((4, 5, 40, 3), 0.5, np.float32), np.arange(4).astype(np.uint64))
    signs = np.rint((best - start) / 0.1)
    np.testing.assert_allclose(best - start, 0.1 * signs, atol=1e-6)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert (signs == signs[:, :1]).all()
    assert abs(signs[:, 0].mean()) < 0.2  # 480 draws of plus or minus 1: 4 standard errors of .046


def test_defaults_are_those_of_the_field():
    assert {name: (a.kind, a.norm, a.epsilon) for name, a in ROBUSTNESS_ATTACKS.items()} == {
        "fgsm": ("fgsm", "linf", 8 / 255),
        "pgd_linf": ("pgd", "linf", 8 / 255),
        "pgd_l2": ("pgd", "l2", 0.5),
        "square": ("square", "linf", 8 / 255),
    }
    assert RobustnessAttack().steps == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(kind="pdg"), "did you mean 'pgd'"),
        (dict(norm="l1"), "norm: unknown 'l1'"),
        (dict(norm="l2", kind="square"), "norm=l2: expected kind=pgd"),
        (dict(epsilon=0), "epsilon"),
        (dict(step=-1), "step"),
        (dict(steps=1.5), "steps: expected a whole number"),
        (dict(fraction=0), "fraction"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        RobustnessAttack(**changes)


WHITE = np.ones((2, *SHAPE), np.float32)


@pytest.mark.parametrize(
    ("images", "labels", "attack", "options", "message"),
    [
        (WHITE[:0], [], {}, {}, "at least 1 row"),
        (WHITE.astype(np.float64), [0, 0], {}, {}, "float64"),
        (WHITE, [0], {}, {}, r"labels: expected int\[2\]"),
        (WHITE, [0.0, 1.0], {}, {}, "labels"),
        (WHITE, [0, 2], {}, {}, "label|labels: 2, the model has classes 0 to 1"),
        (WHITE, [0, 0], {"pixel_max": 255.0}, {}, "do not fit pixel_max=255"),
        (2 * WHITE, [0, 0], {}, {}, "from 2 to 2 do not fit pixel_max=1"),
        (-WHITE, [0, 0], {}, {}, "normalisation belongs inside"),
        (WHITE.astype(np.uint8), [0, 0], {}, {}, "uint8 pixels from 0 to 255"),
        (WHITE, [0, 0], {}, {"ids": ["a"]}, "ids: expected 2"),
        (WHITE, [0, 0], {}, {"from_logits": False}, "no probabilities"),
    ],
)
def test_what_does_not_fit_is_refused(problem, images, labels, attack, options, message):
    with pytest.raises(UserError, match=message) as error:
        robust_accuracy(plane(*problem[:2]), images, np.array(labels, type(labels[0]) if labels else int),
                        in_unit(**attack), **options)  # fmt: skip
    assert "\n" not in str(error.value)


def test_a_model_of_broken_answers_is_refused():
    broken = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    broken.set_weights([np.full((32, 2), np.nan), np.zeros(2)])
    with pytest.raises(UserError, match="finite logits"):
        robust_accuracy(broken, WHITE, np.zeros(2, int), in_unit())
