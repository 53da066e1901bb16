"""Influence functions against matrices formed by hand and against exact leave-out."""

import keras
import numpy as np
import pytest
from scipy import optimize

from tests.unlearning.methods.conftest import gradients, softmax
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.unlearning.methods import METHODS, Examples
from tfpdu.unlearning.methods.curvature import conjugate_gradient, curvature_product

DECAY = 0.05  # of the training objective, on all 15 weights


def rows(n=60, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = generator.normal(size=(n, 4)) + 1.5 * np.eye(4)[labels]
    ids = np.array([f"r{i:02d}" for i in range(n)])
    return Examples(images.reshape(n, 2, 2, 1).astype(np.float32), labels, ids)


def matrices(flat):
    return [flat[:12].reshape(4, 3), flat[12:]]


def optimum(part):
    """The minimum of mean cross-entropy + DECAY/2 * ||w||^2, float64[15]."""
    x, y = part.images.reshape(len(part), 4).astype(np.float64), np.eye(3)[part.labels]

    def value(flat):
        p = softmax(x @ matrices(flat)[0] + matrices(flat)[1])
        slope = np.concatenate([g.ravel() for g in gradients(matrices(flat), x, y)])
        return -np.mean(np.log((p * y).sum(1))) + DECAY / 2 * flat @ flat, slope + DECAY * flat

    return optimize.minimize(value, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-9}).x


def hessian(flat, part):
    """Of the mean cross-entropy, [15, 15], entry by entry."""
    x = np.concatenate([part.images.reshape(len(part), 4), np.ones((len(part), 1))], 1).astype(np.float64)
    p = softmax(x[:, :4] @ matrices(flat)[0] + matrices(flat)[1])
    bend = p[:, :, None] * np.eye(3) - p[:, :, None] * p[:, None, :]  # [n, 3, 3]
    return np.einsum("na,nb,ncd->acbd", x, x, bend).reshape(15, 15) / len(part)


def fitted(part):
    model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.set_weights(matrices(optimum(part)))
    return model


def flat(weights):
    return np.concatenate([np.ravel(w) for w in weights]).astype(np.float64)


@pytest.mark.parametrize("m", [1, 3])
def test_influence_steps_to_the_exact_leave_out_of_logistic_regression(m):
    whole = rows()
    forget, retain = whole.take(np.arange(m)), whole.take(np.arange(m, 60))
    model = fitted(whole)
    settings = METHODS["influence"].settings(damping=0.0, weight_decay=DECAY, iterations=60, tolerance=1e-8, batch=25)
    found = flat(METHODS["influence"].unlearn(model, forget, retain, settings).get_weights())
    start, exact = optimum(whole), optimum(retain)
    # Newton's step on the retained rows: what is left is of second order in m / n.
    assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(start - exact)


def test_influence_equals_the_formula_with_matrices():
    whole = rows()
    forget, retain = whole.take(np.arange(5)), whole.take(np.arange(5, 60))
    model = fitted(whole)
    start = flat(model.get_weights())
    slope = gradients(matrices(start), forget.images.reshape(5, 4).astype(np.float64), np.eye(3)[forget.labels])
    expected = np.linalg.solve(hessian(start, retain) + 0.1 * np.eye(15), 5 * flat(slope) / 55)
    settings = METHODS["influence"].settings(damping=0.1, weight_decay=0.0, scale=0.5, iterations=60, tolerance=1e-8)
    found = flat(METHODS["influence"].unlearn(model, forget, retain, settings).get_weights())
    np.testing.assert_allclose(found - start, 0.5 * expected, atol=2e-6)


def test_curvature_of_a_network_is_that_of_its_logits_derivative_by_finite_differences():
    layers = [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "tanh"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    generator = np.random.default_rng(0)
    model.set_weights([generator.normal(size=w.shape) for w in model.get_weights()])
    part = rows(8)
    weights = [w.astype(np.float64) for w in model.get_weights()]
    v = [generator.normal(size=w.shape) for w in weights]
    jacobian = []
    for i, w in enumerate(weights):
        for j in range(w.size):
            moved = []
            for sign in (1, -1):
                turned = [a.copy() for a in weights]
                turned[i].ravel()[j] += sign * 1e-4
                x = np.tanh(part.images.reshape(8, 4) @ turned[0] + turned[1])
                moved.append(x @ turned[2] + turned[3])
            jacobian.append((moved[0] - moved[1]) / 2e-4)
    jacobian = np.stack(jacobian, -1)  # [8, 3, d]
    p = softmax(np.array(model(part.images), np.float64))
    forward = jacobian @ flat(v)  # [8, 3]
    expected = np.einsum("ncd,nc->d", jacobian, p * forward - p * (p * forward).sum(1, keepdims=True)) / 8
    np.testing.assert_allclose(flat(curvature_product(model, part, batch=3)(v)), expected, atol=1e-4)


@pytest.mark.slow
def test_curvature_passes_through_the_resnet_and_is_never_negative():
    model = build_resnet18((8, 8, 1), 3, width=2)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (4, 8, 8, 1)).astype(np.uint8)
    product = curvature_product(model, Examples(images, np.arange(4) % 3, np.arange(4).astype(str)))
    first, second = ([generator.normal(size=w.shape) for w in model.trainable_weights] for _ in range(2))
    mapped = [flat(product(v)) for v in (first, second)]
    assert flat(first) @ mapped[0] > 0
    assert flat(first) @ mapped[1] == pytest.approx(flat(second) @ mapped[0], rel=1e-3)


def test_conjugate_gradients_solve_a_ridge_regression_exactly():
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(30, 6)), generator.normal(size=30)
    right = x.T @ y
    parts = conjugate_gradient(
        lambda v: list(np.split(x.T @ (x @ np.concatenate(v)), [2])), [right[:2], right[2:]], 0.7, 6, 1e-12
    )
    np.testing.assert_allclose(np.concatenate(parts), np.linalg.solve(x.T @ x + 0.7 * np.eye(6), right), rtol=1e-8)


def test_conjugate_gradients_stop_where_there_is_no_curvature():
    assert not conjugate_gradient(lambda v: [0 * v[0]], [np.ones(3)], 0.0, 5, 1e-9)[0].any()


def test_woodfisher_is_exact_while_all_gradients_are_equal():
    """On n equal retained rows the recursion is Sherman and Morrison's, for (I + (n - 1) / N g g')^-1."""
    whole = rows(2)
    same = np.zeros(6, int)
    retain = Examples(whole.images[same], whole.labels[same], np.array([f"s{i}" for i in range(6)]))
    forget = whole.take(np.array([1]))
    model = fitted(rows())
    start = matrices(flat(model.get_weights()))
    one, lost = (
        flat(gradients(start, r.images[:1].reshape(1, 4).astype(np.float64), np.eye(3)[r.labels[:1]]))
        for r in (retain, forget)
    )
    v = lost / 7 - 1 / (7 * 6) * 6 * one
    expected = np.linalg.solve(np.eye(15) + 5 / 4 * np.outer(one, one), v)
    settings = METHODS["woodfisher"].settings(alpha=2.0, samples=4)
    found = flat(METHODS["woodfisher"].unlearn(model, forget, retain, settings).get_weights())
    np.testing.assert_allclose(found - flat(start), 2 * expected, atol=2e-6)
