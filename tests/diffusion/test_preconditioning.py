"""The denoiser's algebra against Karras et al. (2022), Table 1, and what follows from it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfpdu.common import UserError
from tfpdu.common.seeds import rng
from tfpdu.diffusion import (
    Architecture,
    Weighting,
    build_network,
    denoise,
    denoising_loss,
    loss_weight,
)
from tfpdu.diffusion.preconditioning import draw_sigmas, preconditioning

SIGMA_DATA = 0.5


@pytest.mark.parametrize(
    ("sigma", "expected", "weight"),
    [
        (0.5, (0.5, 0.353553, 1.414214, -0.173287), 8),
        (1.0, (0.2, 0.447214, 0.894427, 0.0), 5),
        (80.0, (3.9061e-5, 0.49999, 0.0124998, 1.09551), 4.00016),
    ],
)
def test_known_coefficients(sigma, expected, weight):
    np.testing.assert_allclose(preconditioning(sigma, SIGMA_DATA), expected, rtol=2e-5, atol=1e-6)
    assert loss_weight(sigma, SIGMA_DATA, Weighting.EDM) == pytest.approx(weight, rel=1e-6)


@given(st.floats(1e-3, 1e3), st.floats(0.1, 2))
@settings(max_examples=50, deadline=None)
def test_edm_weight_undoes_c_out(sigma, sigma_data):
    c_skip, c_out, c_in, _ = preconditioning(sigma, sigma_data)
    assert loss_weight(sigma, sigma_data, Weighting.EDM) * c_out**2 == pytest.approx(1, rel=1e-9)
    assert c_in**2 * (sigma**2 + sigma_data**2) == pytest.approx(1, rel=1e-9)  # unit variance at the network's door
    assert c_skip**2 * sigma**2 + (1 - c_skip) ** 2 * sigma_data**2 == pytest.approx(c_out**2, rel=1e-6)  # unit target


def test_edm_weight_is_one_plus_snr():
    sigma = np.geomspace(0.01, 50, 20)
    snr = SIGMA_DATA**2 / sigma**2
    np.testing.assert_allclose(loss_weight(sigma, SIGMA_DATA, Weighting.EDM), (1 + snr) / SIGMA_DATA**2)
    np.testing.assert_allclose(loss_weight(sigma, SIGMA_DATA, Weighting.MIN_SNR), np.minimum(snr, 5))
    np.testing.assert_allclose(loss_weight(sigma, SIGMA_DATA, Weighting.PAPER), 1)


def test_tensors_and_arrays_agree():
    sigma = np.array([0.01, 0.5, 20], np.float32)
    tensors = preconditioning(ops.convert_to_tensor(sigma), SIGMA_DATA)
    for tensor, array in zip(tensors, preconditioning(sigma, SIGMA_DATA), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(tensor), array, rtol=1e-5, atol=1e-6)
    for weighting in Weighting:
        tensor = loss_weight(ops.convert_to_tensor(sigma), SIGMA_DATA, weighting)
        np.testing.assert_allclose(ops.convert_to_numpy(tensor), loss_weight(sigma, SIGMA_DATA, weighting), rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_sigma_out_of_range_is_named(sigma):
    with pytest.raises(UserError, match=r"sigma: expected noise levels above 0, got"):
        preconditioning(np.array([1.0, sigma]), SIGMA_DATA)
    with pytest.raises(UserError, match="sigma"):
        loss_weight(sigma, SIGMA_DATA, Weighting.EDM)


def test_noise_levels_follow_their_law():
    logs = np.log(np.concatenate([draw_sigmas(rng("law", i), 64, -1.2, 1.2) for i in range(200)]).astype(np.float64))
    # Stratified draws scatter less than independent ones, whose standard errors are 0.0106 and 0.0075.
    assert logs.mean() == pytest.approx(-1.2, abs=0.02)
    assert logs.std() == pytest.approx(1.2, abs=0.02)
    low, median, high = np.exp(np.quantile(logs, [0.025, 0.5, 0.975]))
    np.testing.assert_allclose([low, median, high], [0.0287, 0.301, 3.165], rtol=0.05)
    one = np.array([draw_sigmas(rng("one", i), 1, 0.0, 1.0)[0] for i in range(500)])
    assert np.log(one).std() == pytest.approx(1, abs=0.12)


def test_untrained_network_only_skips():
    network = build_network(Architecture((8, 8, 1), 3, widths=(8,), fold=2, attention=False, embedding=8))
    draw = rng("zero")
    clean = draw.normal(0, SIGMA_DATA, (256, 8, 8, 1)).astype(np.float32)
    noise = draw.standard_normal(clean.shape, dtype=np.float32)
    sigma = draw_sigmas(draw, 256, -1.2, 1.2)
    labels, attributes = np.zeros(256, np.int32), np.zeros((256, 0), np.int32)
    z = clean + sigma[:, None, None, None] * noise
    estimate = ops.convert_to_numpy(denoise(network, z, ops.convert_to_tensor(sigma), labels, attributes, 0.5, False))
    np.testing.assert_array_equal(
        estimate, z * ops.convert_to_numpy(preconditioning(ops.convert_to_tensor(sigma), 0.5)[0])[:, None, None, None]
    )
    tensors = (ops.convert_to_tensor(a) for a in (clean, noise, sigma, labels, attributes))
    losses = ops.convert_to_numpy(denoising_loss(network, *tensors, SIGMA_DATA, Weighting.EDM))
    # One per pixel in expectation; 16,384 pixels of variance about 2 give a standard error of 0.011.
    assert losses.mean() == pytest.approx(1, abs=0.04)
