"""Kernel distance, precision, recall, density and coverage against naive re-implementations and known answers."""

import dataclasses

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diffusion.conftest import toy_records
from tfpdu.common import UserError
from tfpdu.common.seeds import rng
from tfpdu.diffusion import (
    PIXELS,
    Extractor,
    density_coverage,
    extractor_of,
    kernel_distance,
    measure_fidelity,
    neighbours,
    precision_recall,
)


def points(n, *key, d=5, shift=0.0):
    return rng("points", n, *key).normal(shift, 1, (n, d))


def naive_kernel_distance(x, y):
    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    own = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    other = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return own + other - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


def naive_radii(x, k):
    return [sorted(np.linalg.norm(x[i] - x[j]) for j in range(len(x)) if j != i)[k - 1] for i in range(len(x))]


def naive_share_inside(inner, outer, k):
    radii = naive_radii(outer, k)
    inside = [any(np.linalg.norm(p - c) <= r for c, r in zip(outer, radii, strict=True)) for p in inner]
    return sum(inside) / len(inner)


def naive_density_coverage(x, y, k):
    radii = naive_radii(x, k)
    inside = np.array([[np.linalg.norm(p - c) <= r for c, r in zip(x, radii, strict=True)] for p in y])
    return inside.sum() / (k * len(y)), inside.any(axis=0).mean()


# Known answers


def test_kernel_distance_by_hand():
    """One feature: k(a, b) = (ab + 1)^3. Points 0, 0, 0, 0 against 1, 1, 1, 1: 1 + 8 - 2 * 1 = 7."""
    value, error = kernel_distance(np.zeros((4, 1)), np.ones((4, 1)))
    assert value == pytest.approx(7)
    assert error == 0


def test_kernel_distance_has_no_bias():
    """The mean of 400 estimates on 8 points of one distribution is 0 within 4 standard errors."""
    values = [kernel_distance(points(8, "x", i), points(8, "y", i))[0] for i in range(400)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / 20)
    assert min(values) < 0


def test_kernel_distance_of_shifted_normals():
    """From the moments of a normal up to the third, for d features shifted by 1 each; 9.04 for d = 5."""
    d = 5
    expected = 3 + 3 + (d**3 + 6 * d**2 + (3 * d + 6) * d) / d**3
    values = [kernel_distance(points(20, "x", i), points(20, "y", i, shift=1.0))[0] for i in range(400)]
    assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / 20)


def test_the_standard_error_is_that_of_repetitions():
    """Distributions that differ: 200 repetitions scatter as the error says, within a quarter."""
    made = [kernel_distance(points(60, "x", i), points(60, "y", i, shift=0.7)) for i in range(200)]
    values, errors = np.array(made).T
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(np.std(values), rel=0.25)


def test_density_of_fresh_points_is_one():
    """20 repetitions of 200 points: 1 within 4 standard errors; coverage is 1 - (1 - k/n)^n or so, Naeem's eq. 7."""
    made = [density_coverage(points(200, "x", i), points(200, "y", i)) for i in range(20)]
    density, coverage = np.array(made).T
    assert density.mean() == pytest.approx(1, abs=4 * density.std() / np.sqrt(20))
    n, k = 200, 5
    expected = 1 - np.prod([(n - 1 - i) / (2 * n - 1 - i) for i in range(k)])
    assert coverage.mean() == pytest.approx(expected, abs=4 * coverage.std() / np.sqrt(20))


def test_points_on_a_line():
    """Real 0, 1, 2, 3 with k = 1: balls of radius 1. Generated 0.5, 1 (on a border), 10, 11."""
    real, generated = np.arange(4.0)[:, None], np.array([[0.5], [1.0], [10.0], [11.0]])
    assert precision_recall(real, generated, 1) == (0.5, 0.5)  # generated radii 0.5, 0.5, 1, 1: real 0 and 1 inside
    assert density_coverage(real, generated, 1) == (5 / 4, 0.75)  # 0.5 is in 2 balls, 1 in 3; real 3 is empty


# Against naive loops


@pytest.mark.parametrize(("n", "m", "d"), [(12, 12, 3), (9, 20, 1), (30, 7, 6)])
def test_measures_are_those_of_double_loops(n, m, d, monkeypatch):
    x, y = points(n, "x", d=d), points(m, "y", d=d, shift=0.5)
    y[3] = x[2]
    for block in (1024, 5):
        monkeypatch.setattr(neighbours, "BLOCK", block)
        assert kernel_distance(x, y)[0] == pytest.approx(naive_kernel_distance(x, y), rel=1e-10)
        assert precision_recall(x, y) == (naive_share_inside(y, x, 3), naive_share_inside(x, y, 3))
        assert density_coverage(x, y) == pytest.approx(naive_density_coverage(x, y, 5), rel=1e-12)


@given(st.integers(0, 2**20), st.integers(6, 20), st.integers(6, 20), st.integers(1, 3), st.booleans())
@settings(max_examples=40, deadline=None)
def test_ties_are_inside_as_in_double_loops(seed, n, m, d, far):
    """Whole numbers, so that many points lie exactly on a border; also so far out that products round."""
    draw = rng("whole", seed)
    x, y = (draw.integers(0, 4, (size, d)) + (1e8 if far else 0.0) for size in (n, m))
    assert precision_recall(x, y) == (naive_share_inside(y, x, 3), naive_share_inside(x, y, 3))
    assert density_coverage(x, y) == pytest.approx(naive_density_coverage(x, y, 5), rel=1e-12)


# Properties


@given(st.integers(0, 2**20), st.integers(6, 40), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_a_set_against_itself(seed, n, d):
    x = points(n, seed, d=d)
    assert kernel_distance(x, x)[0] < 1e-9
    assert precision_recall(x, x) == (1, 1)
    density, coverage = density_coverage(x, x)
    assert density == pytest.approx(6 / 5)  # its k neighbours and itself
    assert coverage == 1


@given(st.integers(0, 2**20), st.integers(6, 30), st.integers(6, 30), st.integers(1, 8))
@settings(max_examples=40, deadline=None)
def test_sets_far_apart(seed, n, m, d):
    x, y = points(n, seed, "x", d=d), points(m, seed, "y", d=d, shift=1000.0)
    assert kernel_distance(x, y)[0] > 1e6
    assert precision_recall(x, y) == (0, 0)
    assert density_coverage(x, y) == (0, 0)


@given(st.integers(0, 2**20), st.integers(6, 40), st.integers(6, 40))
@settings(max_examples=40, deadline=None)
def test_order_does_not_matter(seed, n, m):
    x, y = points(n, seed, "x"), points(m, seed, "y", shift=0.3)
    p, q = rng("p", seed).permutation(n), rng("q", seed).permutation(m)
    assert kernel_distance(x[p], y[q])[0] == pytest.approx(kernel_distance(x, y)[0], rel=1e-9, abs=1e-9)
    assert kernel_distance(y, x)[0] == pytest.approx(kernel_distance(x, y)[0], rel=1e-9, abs=1e-9)
    assert precision_recall(x[p], y[q]) == precision_recall(x, y) == precision_recall(y, x)[::-1]
    assert density_coverage(x[p], y[q]) == density_coverage(x, y)


def test_a_generator_with_one_good_image_has_precision_and_no_recall():
    real = points(60, "real")
    poor = np.repeat(real[:1], 60, axis=0) + points(60, "jitter") * 1e-3
    precision, recall = precision_recall(real, poor)
    assert precision == 1
    assert recall < 0.1
    assert density_coverage(real, poor)[1] < 0.5


# Images and extractors


def test_results_carry_the_name_of_the_extractor():
    real, generated = toy_records(60, 1).images, toy_records(50, 2).images
    means = Extractor("means of the rows", lambda images: images.mean(axis=(2, 3)))
    found = measure_fidelity(real, generated, means)
    assert found.extractor == "means of the rows"
    assert (found.real, found.generated) == (60, 50)
    x, y = real.mean(axis=(2, 3)), generated.mean(axis=(2, 3))
    assert (found.kid, found.kid_se) == kernel_distance(x, y)
    assert (found.precision, found.recall) == precision_recall(x, y)
    assert (found.density, found.coverage) == density_coverage(x, y)
    assert dataclasses.asdict(measure_fidelity(real, generated, PIXELS))["extractor"] == "pixels"


@pytest.fixture(scope="module")
def model():
    image = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 255, name="scale")(image)
    x = keras.layers.Conv2D(3, 3, strides=2, activation="relu", name="conv", kernel_initializer=_initial(1))(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(4, activation="relu", name="hidden", kernel_initializer=_initial(2))(x)
    return keras.Model(image, keras.layers.Dense(2, name="logits", kernel_initializer=_initial(3))(x))


def _initial(seed):
    return keras.initializers.GlorotUniform(seed=seed)


def test_features_are_the_input_of_the_last_dense_layer(model):
    images = toy_records(21).images
    features = extractor_of(model, "tiny", batch=8)(images)
    assert features.shape == (21, 4)
    assert features.dtype == np.float32
    weights, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(features @ weights + bias, model(images.astype(np.float32)), rtol=1e-5, atol=1e-6)


def test_any_layer_can_be_named_and_is_flattened(model):
    images = toy_records(5).images
    scaled = extractor_of(model, "input", "scale", batch=4)(images)
    np.testing.assert_allclose(scaled, images.reshape(5, -1) / 255, rtol=1e-6)
    assert extractor_of(model, "conv", "conv")(images).shape == (5, 27)


def test_images_can_be_prepared(model):
    images = toy_records(5).images
    doubled = extractor_of(model, "twice", "scale", preprocess=lambda part: part.astype(np.float32) * 2)(images)
    np.testing.assert_allclose(doubled, 2.0 * images.reshape(5, -1) / 255, rtol=1e-6)


def test_features_depend_on_their_image_alone(model):
    images = toy_records(21).images
    extractor = extractor_of(model, "tiny", "conv", batch=8)
    features = extractor(images)
    order = rng("order").permutation(21)[:10]
    np.testing.assert_array_equal(extractor(images[order]), features[order])
    assert neighbours.nearest_distances(images[order], images, True, 1, extractor).distances.max() == 0
    assert extractor(images[:0]).shape == (0, 27)


def test_extractors_that_cannot_be_made_are_named(model):
    with pytest.raises(UserError, match="extractor 'x': the model has no layer 'hiden', did you mean 'hidden'"):
        extractor_of(model, "x", "hiden")
    plain = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    with pytest.raises(UserError, match="extractor 'x': the model has no Dense layer"):
        extractor_of(plain, "x")
    assert extractor_of(plain, "x", plain.layers[-1].name)(toy_records(3).images).shape == (3, 64)

    class Opaque(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (-1, 64)))

    opaque = Opaque()
    opaque(np.zeros((1, 8, 8, 1), np.float32))
    with pytest.raises(UserError, match="no graph of layers"):
        extractor_of(opaque, "x")


def test_features_that_are_no_table_are_named():
    images = toy_records(6).images
    with pytest.raises(UserError, match=r"extractor 'x': expected features of shape \[6, d\], got \[6, 8, 8, 1\]"):
        Extractor("x", lambda images: images)(images)
    with pytest.raises(UserError, match="extractor 'x': image 2 has NaN"):
        Extractor("x", lambda images: np.where(np.arange(6)[:, None] == 2, np.nan, 1.0))(images)
    with pytest.raises(UserError, match="expected uint8"):
        PIXELS(images / 255)


def test_too_few_points_are_named():
    x = points(3)
    with pytest.raises(UserError, match="3 real images, at least 4"):
        kernel_distance(x, points(9))
    with pytest.raises(UserError, match="3 generated images, at least 4"):
        precision_recall(points(9), x)
    with pytest.raises(UserError, match="3 real images, at least 6"):
        density_coverage(x, x)
    with pytest.raises(UserError, match="real points have 5 features, generated ones 4"):
        kernel_distance(points(9), points(9, d=4))
    with pytest.raises(UserError, match="NaN or infinity"):
        kernel_distance(np.full((9, 2), np.inf), points(9, d=2))
