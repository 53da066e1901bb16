"""Muon on convolutions, and learning rates."""

import keras
import numpy as np
import pytest

from tfpdu.common.seeds import rng
from tfpdu.diffusion.optimisers import RMS, InverseSquareRoot, Muon


def step(optimiser, shape, path="middle_conv1/kernel"):
    """How far one step moves a variable of this shape, and the gradient."""
    layer, name = path.split("/")
    with keras.name_scope(layer):
        variable = keras.Variable(np.zeros(shape, np.float32), name=name)
    gradient = rng("gradient", *shape).standard_normal(shape, dtype=np.float32)
    optimiser.build([variable])
    optimiser.apply([keras.ops.convert_to_tensor(gradient)], [variable])
    return keras.ops.convert_to_numpy(variable.value), gradient


@pytest.mark.parametrize("shape", [(3, 3, 4, 8), (1, 1, 16, 4), (12, 5)])
def test_an_update_of_a_kernel_is_nearly_orthogonal_and_as_large_as_adams(shape):
    moved, gradient = step(Muon(0.1), shape)
    matrix = -moved.reshape(-1, shape[-1]) / 0.1
    u, _, v = np.linalg.svd(gradient.reshape(-1, shape[-1]), full_matrices=False)
    singular = np.linalg.svd(matrix, compute_uv=False) / (RMS * max(matrix.shape) ** 0.5)
    assert singular.min() > 0.6  # five Newton-Schulz steps with these coefficients end between 0.7 and 1.2
    assert singular.max() < 1.3
    aligned = np.diag(u.T @ matrix @ v.T) / (RMS * max(matrix.shape) ** 0.5)
    np.testing.assert_allclose(aligned, singular[::-1].mean(), atol=0.35)
    assert 0.1 < np.sqrt(np.mean(matrix**2)) < 0.6


def test_bfloat16_changes_little():
    exact, quick = (step(Muon(0.1, precision), (3, 3, 4, 8))[0] for precision in ("float32", "bfloat16"))
    np.testing.assert_allclose(quick, exact, atol=0.1 * np.abs(exact).max())


@pytest.mark.parametrize(("shape", "path"), [((7,), "middle_conv1/bias"), ((3, 3, 4, 8), "last/kernel")])
def test_vectors_and_the_ends_of_the_network_are_adams(shape, path):
    moved, gradient = step(Muon(0.1), shape, path)
    np.testing.assert_allclose(moved, -0.1 * np.sign(gradient), rtol=1e-3)  # Adam's first step


def test_a_matrix_is_learned_as_keras_own_muon_learns_it():
    kwargs = {"weight_decay": None, "adam_weight_decay": None}
    np.testing.assert_allclose(
        step(Muon(0.1), (6, 9))[0], step(keras.optimizers.Muon(0.1, **kwargs), (6, 9))[0], rtol=1e-5
    )


def test_the_inverse_square_root_schedule():
    rate = InverseSquareRoot(0.4, decay=100, warm_up=4)
    found = [float(rate(step)) for step in (0, 1, 3, 50, 100, 400, 10_000)]
    np.testing.assert_allclose(found, [0.1, 0.2, 0.4, 0.4, 0.4, 0.2, 0.04], rtol=1e-6)
    assert float(InverseSquareRoot(0.4, decay=100)(0)) == pytest.approx(0.4)
    assert InverseSquareRoot(**rate.get_config()).get_config() == rate.get_config()
