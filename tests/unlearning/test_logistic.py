"""Regularised logistic regression: derivatives, minimiser, and bounds that hold for every row."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn.linear_model import LogisticRegression

from tfpdu.common import UserError
from tfpdu.unlearning import logistic
from tfpdu.unlearning.logistic import Rows


def random_rows(seed, n=30, width=4, classes=3, radius=1.0):
    """Rows of norm at most `radius`, half of them exactly there."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, width))
    features *= radius / np.linalg.norm(features, axis=1, keepdims=True)
    features[::2] *= rng.uniform(0, 1, (len(features[::2]), 1))
    return Rows(features, rng.integers(0, classes, n))


def naive_loss(flat, rows, strong_convexity, classes):
    """The mean loss as it is written down, row by row."""
    weights = flat.reshape(classes, -1)
    total = 0.0
    for x, y in zip(*rows, strict=True):
        logits = weights @ x
        total -= math.log(math.exp(logits[y]) / sum(math.exp(value) for value in logits))
    return total / len(rows.labels) + strong_convexity / 2 * sum(value**2 for value in flat)


def test_loss_gradient_and_hessian_are_those_of_the_definition():
    rows, weights = random_rows(1), np.random.default_rng(2).normal(size=(3, 4))
    assert logistic.loss(weights, rows, 0.2) == pytest.approx(naive_loss(weights.ravel(), rows, 0.2, 3), rel=1e-12)
    slope = optimize.approx_fprime(weights.ravel(), naive_loss, 1e-7, rows, 0.2, 3)
    np.testing.assert_allclose(logistic.gradient(weights, rows, 0.2).ravel(), slope, atol=1e-6)
    curvature = optimize.approx_fprime(
        weights.ravel(), lambda flat: logistic.gradient(flat.reshape(3, 4), rows, 0.2).ravel(), 1e-7
    )
    np.testing.assert_allclose(logistic.hessian(weights, rows, 0.2), curvature, atol=1e-6)


def test_the_minimiser_is_the_one_that_scikit_learn_finds():
    rows = random_rows(3, n=60)
    ours = logistic.minimiser(rows, 3, 0.01, 1e-11)
    theirs = LogisticRegression(C=1 / (60 * 0.01), fit_intercept=False, solver="newton-cg", tol=1e-10).fit(*rows)
    np.testing.assert_allclose(ours, theirs.coef_, atol=1e-7)


def test_a_class_without_rows_and_a_single_row_have_a_minimiser():
    weights = logistic.minimiser(Rows(np.array([[1.0, 0.0]]), np.array([1])), 3, 0.1, 1e-10)
    assert weights[1, 0] > 0 > weights[0, 0] == pytest.approx(weights[2, 0])
    assert np.linalg.norm(logistic.gradient(weights, Rows(np.array([[1.0, 0.0]]), np.array([1])), 0.1)) <= 1e-10


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_the_gradient_bound_holds_and_is_reached_by_a_sure_error(radius):
    rows = Rows(np.array([[radius, 0.0]]), np.array([0]))
    for push in (0.0, 1.0, 60.0):
        steepest = np.linalg.norm(logistic.gradient(np.array([[-push, 0], [push, 0]]), rows, 0.0))
        assert steepest <= logistic.lipschitz(radius) * (1 + 1e-12)
    assert steepest == pytest.approx(logistic.lipschitz(radius), rel=1e-9)


@pytest.mark.parametrize("radius", [0.5, 3.0])
def test_the_bound_on_the_third_derivative_is_reached_by_two_classes(radius):
    """Probabilities 1/2 +- 1/(2 sqrt(3)), moved along (1, -1) / sqrt(2)."""
    p = 0.5 + 0.5 / math.sqrt(3)
    rows, direction = Rows(np.array([[radius]]), np.array([0])), np.array([[1.0], [-1.0]]) / math.sqrt(2)
    weights = direction * math.log(p / (1 - p)) / math.sqrt(2) / radius
    moved = logistic.hessian(weights + 1e-5 * direction, rows, 0.1) - logistic.hessian(weights, rows, 0.1)
    assert np.linalg.norm(moved, 2) / 1e-5 == pytest.approx(logistic.hessian_lipschitz(radius), rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from([0.3, 1.0, 4.0]), st.floats(1e-3, 3))
def test_no_row_breaks_a_bound(seed, classes, radius, far):
    rows, rng = random_rows(seed, 1, 3, classes, radius), np.random.default_rng(seed + 1)
    one = rng.normal(0, 3 / radius, (classes, 3))
    other = one + far * rng.normal(size=one.shape)
    moved = logistic.hessian(one, rows, 0.1) - logistic.hessian(other, rows, 0.1)
    limit = logistic.hessian_lipschitz(radius) * np.linalg.norm(one - other)
    assert np.linalg.norm(moved, 2) <= limit * (1 + 1e-9)
    assert np.linalg.norm(logistic.gradient(one, rows, 0.0)) <= logistic.lipschitz(radius) * (1 + 1e-12)
    assert np.linalg.eigvalsh(logistic.hessian(one, rows, 0.1))[0] >= 0.1 - 1e-12


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 15), st.data(), st.floats(1e-2, 3))
def test_the_minimiser_moves_no_further_than_the_displacement(seed, n, data, strong_convexity):
    m = data.draw(st.integers(1, n - 1))
    rows = random_rows(seed, n, 2, 2, 2.0)
    kept = Rows(rows.features[m:], rows.labels[m:])
    moved = logistic.minimiser(rows, 2, strong_convexity, 1e-10) - logistic.minimiser(kept, 2, strong_convexity, 1e-10)
    limit = logistic.displacement(n, m, logistic.lipschitz(2.0), strong_convexity) + 2e-10 / strong_convexity
    assert np.linalg.norm(moved) <= limit


def test_the_displacement_is_at_most_twice_what_can_happen():
    """One of two opposite rows leaves; strong regularisation keeps both undecided, with gradients of norm G / 2."""
    features = np.ones((2, 1))
    rows, strong_convexity = Rows(features, np.array([0, 1])), 1e4
    moved = logistic.minimiser(rows, 2, strong_convexity, 1e-9) - logistic.minimiser(
        Rows(features[1:], rows.labels[1:]), 2, strong_convexity, 1e-9
    )
    limit = logistic.displacement(2, 1, logistic.lipschitz(1.0), strong_convexity)
    assert np.linalg.norm(moved) == pytest.approx(limit / 2, rel=1e-3)


def test_a_residual_beyond_float64_and_too_many_weights_are_refused_in_one_line():
    with pytest.raises(UserError, match="raise"):
        logistic.minimiser(random_rows(4), 3, 0.1, 1e-30)
    with pytest.raises(UserError, match="20000 weights, at most 12000"):
        logistic.minimiser(Rows(np.zeros((2, 2000)), np.array([0, 1])), 10, 0.1, 1e-9)
