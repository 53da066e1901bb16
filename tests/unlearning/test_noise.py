"""Gaussian noise: what a claim needs, what releases add up to, and where it comes from."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from tfpdu.common import UserError
from tfpdu.unlearning import gaussian_delta, gaussian_epsilon, gaussian_sigma, newton_noise
from tfpdu.unlearning.noise import secret_noise, textbook_sigma


@pytest.mark.parametrize(
    ("problem", "gamma", "sigma"),
    [
        ((50_000, 500, 512, 1, 1, 1, 1, 1e-5), 2.0e-4, 9.68961e-4),
        ((10_000, 100, 50, 1, 0.1, 0.1, 1, 1e-5), 2.0e-2, 9.68961e-2),
    ],
)
def test_the_newton_step_gets_the_worked_noise(problem, gamma, sigma):
    assert newton_noise(*problem) == (pytest.approx(gamma, rel=1e-12), pytest.approx(sigma, rel=1e-5))


def test_a_quadratic_loss_and_an_empty_request_need_no_noise():
    assert newton_noise(100, 5, 3, 1, 1, 0, 1, 1e-5) == (0, 0)
    assert newton_noise(100, 0, 3, 1, 1, 1, 1, 1e-5) == (0, 0)


@pytest.mark.parametrize(("epsilon", "ratio"), [(0.0, 0.3), (0.5, 1.0), (1.0, 0.27), (3.0, 2.0), (8.0, 1.5)])
def test_delta_is_what_the_densities_of_two_gaussians_say(epsilon, ratio):
    """The integral of max(0, p - e^epsilon q): the definition, over the half-line where it is above 0."""
    start = epsilon / ratio + ratio / 2  # where the densities of N(ratio, 1) and N(0, 1) are e^epsilon apart

    def excess(x):
        return stats.norm.pdf(x - ratio) - math.exp(epsilon) * stats.norm.pdf(x)

    expected, _ = integrate.quad(excess, start, start + 20, epsabs=1e-14)
    assert gaussian_delta(epsilon, ratio) == pytest.approx(expected, rel=1e-6, abs=1e-13)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.5, 1e-3), (1.0, 1e-5), (4.0, 1e-6)])
def test_dp_accounting_finds_the_same(epsilon, delta):
    sigma = gaussian_sigma(1.0, epsilon, delta)
    other = pld.from_gaussian_mechanism(sigma, value_discretization_interval=1e-4)
    assert other.get_delta_for_epsilon(epsilon) == pytest.approx(delta, rel=2e-3)
    together = other.self_compose(3).get_epsilon_for_delta(delta)
    assert gaussian_epsilon(math.sqrt(3) / sigma, delta) == pytest.approx(together, rel=2e-3)


claims = st.tuples(st.floats(0.01, 60), st.floats(1e-12, 0.9))


@settings(max_examples=200, deadline=None)
@given(claims, st.floats(1e-9, 1e6))
def test_sigma_is_the_least_that_proves_the_claim(claim, sensitivity):
    epsilon, delta = claim
    sigma = gaussian_sigma(sensitivity, epsilon, delta)
    assert gaussian_delta(epsilon, sensitivity / sigma) <= delta * (1 + 1e-9)
    assert gaussian_delta(epsilon, sensitivity / sigma * 1.001) > delta
    assert gaussian_epsilon(sensitivity / sigma, delta) == pytest.approx(epsilon, rel=1e-5)


@settings(max_examples=200, deadline=None)
@given(claims)
def test_the_textbook_sigma_is_never_less_than_what_is_needed(claim):
    assert textbook_sigma(1.0, *claim) >= gaussian_sigma(1.0, *claim)


def test_no_distance_is_free_and_no_noise_hides_nothing():
    assert gaussian_delta(1.0, 0.0) == gaussian_epsilon(0.0, 1e-5) == gaussian_sigma(0.0, 1.0, 1e-5) == 0.0
    assert gaussian_delta(1.0, math.inf) == 1.0


def test_a_great_epsilon_does_not_overflow():
    assert gaussian_delta(2000.0, 10.0) == 0.0
    assert gaussian_delta(2000.0, 100.0) == pytest.approx(stats.norm.cdf(30.0))


def test_secret_noise_is_standard_normal():
    """Kolmogorov-Smirnov at 10^5 fixed numbers; by chance below 1e-3 once in a thousand secrets."""
    noise = secret_noise("s" * 32, 100_000, "test")
    assert stats.kstest(noise, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 4 / math.sqrt(1e5)


def test_secret_noise_is_fixed_by_secret_and_purpose_and_by_nothing_less():
    noise = secret_noise("s" * 32, 50, "a", 1)
    np.testing.assert_array_equal(noise, secret_noise("s" * 32, 50, "a", 1))
    for other in (secret_noise("t" * 32, 50, "a", 1), secret_noise("s" * 32, 50, "a", 2)):
        assert not np.isin(other, noise).any()


@pytest.mark.parametrize(
    "call",
    [
        lambda: gaussian_delta(-1.0, 1.0),
        lambda: gaussian_delta(1.0, -1.0),
        lambda: gaussian_delta(1.0, math.nan),
        lambda: gaussian_epsilon(1.0, 0.0),
        lambda: gaussian_epsilon(math.inf, 0.1),
        lambda: gaussian_sigma(1.0, 0.0, 1e-5),
        lambda: gaussian_sigma(1.0, 1.0, 1.0),
        lambda: gaussian_sigma(math.inf, 1.0, 1e-5),
        lambda: newton_noise(10, 10, 1, 1, 1, 1, 1, 1e-5),
        lambda: newton_noise(10, 1.5, 1, 1, 1, 1, 1, 1e-5),
        lambda: newton_noise(0, 0, 1, 1, 1, 1, 1, 1e-5),
        lambda: newton_noise(10, 1, 0, 1, 1, 1, 1, 1e-5),
        lambda: newton_noise(10, 1, 1, 0, 1, 1, 1, 1e-5),
        lambda: newton_noise(10, 1, 1, 1, 0, 1, 1, 1e-5),
        lambda: newton_noise(10, 1, 1, 1, 1, -1, 1, 1e-5),
        lambda: newton_noise(10, 1, 1, 1, 1, math.nan, 1, 1e-5),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(call):
    with pytest.raises(UserError, match="expected") as error:
        call()
    assert "\n" not in str(error.value)
