"""Classifier-free guidance as algebra, on a denoiser whose answer is known."""

import numpy as np
import pytest

from tfpdu.common.seeds import rng
from tfpdu.diffusion import guided

LABELS = np.array([0, 2, 1])
ATTRIBUTES = np.array([[1, -1], [0, 2], [1, 1]])
Z = rng("z").standard_normal((3, 4, 4, 1))


def denoiser(z, sigma, labels, attributes):
    """Depends on everything, and by other amounts on each."""
    return z / (1 + sigma) + 0.1 * (labels + 1.0)[:, None, None, None] + (attributes @ [1.0, 0.3])[:, None, None, None]


def unknown(z, sigma):
    return denoiser(z, sigma, np.full(3, -1), np.full((3, 2), -1))


def test_scale_one_is_the_conditional_model_exactly():
    answer = guided(denoiser, LABELS, ATTRIBUTES, 1.0)(Z, 0.7)
    np.testing.assert_array_equal(answer, denoiser(Z, 0.7, LABELS, ATTRIBUTES))


def test_scale_zero_does_not_know_the_condition():
    here, there = (guided(denoiser, labels, ATTRIBUTES, 0.0)(Z, 0.7) for labels in (LABELS, LABELS[::-1]))
    np.testing.assert_array_equal(here, there)
    np.testing.assert_array_equal(here, unknown(Z, 0.7))


@pytest.mark.parametrize("scale", [0.5, 1.3, 2.0, 7.0])
def test_guidance_is_linear_in_its_scale(scale):
    low, high = (guided(denoiser, LABELS, ATTRIBUTES, g)(Z, 0.7) for g in (0.0, 1.0))
    np.testing.assert_allclose(guided(denoiser, LABELS, ATTRIBUTES, scale)(Z, 0.7), low + scale * (high - low))


@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_guidance_may_be_confined_to_noise_levels(scale):
    confined = guided(denoiser, LABELS, ATTRIBUTES, scale, low=0.3, high=2.0)
    for sigma in (0.3, 0.7, 2.0):
        np.testing.assert_array_equal(confined(Z, sigma), guided(denoiser, LABELS, ATTRIBUTES, scale)(Z, sigma))
    for sigma in (0.29, 2.01):
        np.testing.assert_array_equal(confined(Z, sigma), denoiser(Z, sigma, LABELS, ATTRIBUTES))


def test_an_unknown_condition_cannot_be_guided_to():
    labels, attributes = np.full(3, -1), np.full((3, 2), -1)
    np.testing.assert_allclose(guided(denoiser, labels, attributes, 3.0)(Z, 0.7), unknown(Z, 0.7))


def test_one_evaluation_where_one_is_enough():
    calls = []

    def counting(*arguments):
        calls.append(arguments)
        return denoiser(*arguments)

    for scale, evaluations in ((0.0, 1), (1.0, 1), (1.5, 2)):
        calls.clear()
        guided(counting, LABELS, ATTRIBUTES, scale)(Z, 0.7)
        assert len(calls) == evaluations
