"""Schedule and integrators against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.common.seeds import rng
from tfpdu.diffusion import Sampler, integrate, keyed_noise, sigma_schedule
from tfpdu.diffusion.sampler import Churn


def gaussian(z, sigma):
    """The best denoiser of data N(0, 0.5^2)."""
    return 0.25 / (0.25 + sigma**2) * z


def two_points(z, sigma):
    """The best denoiser of the data {-1, +1}: the one that remembers."""
    return np.tanh(z / sigma**2)


def test_schedule_of_five():
    expected = [80, 17.527832, 2.515219, 0.169753, 0.002, 0]
    np.testing.assert_allclose(sigma_schedule(5, 0.002, 80, 7), expected, atol=5e-7)


def test_schedule_of_eighteen():
    levels = sigma_schedule(18, 0.002, 80, 7)
    assert levels.dtype == np.float64
    assert levels.shape == (19,)
    np.testing.assert_allclose(levels[[1, 9, 16]], [57.585985, 1.92334, 0.007528], atol=5e-7)


@given(st.integers(2, 100), st.floats(1e-3, 0.1), st.floats(1, 200), st.floats(1, 10))
@settings(max_examples=50, deadline=None)
def test_schedule_falls_from_end_to_end(steps, low, high, rho):
    levels = sigma_schedule(steps, low, high, rho)
    assert np.all(np.diff(levels) < 0)
    assert levels[0] == pytest.approx(high)
    assert levels[-2] == pytest.approx(low)
    assert levels[-1] == 0


@pytest.mark.parametrize("arguments", [(1, 0.1, 1, 7), (5, 0, 1, 7), (5, 1, 0.1, 7), (5, 0.1, float("inf"), 7)])
def test_impossible_schedules_are_refused(arguments):
    with pytest.raises(UserError, match=r"steps|sigma"):
        sigma_schedule(*arguments)


@pytest.mark.parametrize(
    ("sampler", "errors"),
    [(Sampler.HEUN, [5.53e-2, 1.22e-2, 2.87e-3]), (Sampler.EULER, [-1.54e-1, -7.80e-2, -3.92e-2])],
)
def test_integrators_reach_the_exact_solution_at_their_order(sampler, errors):
    exact = 80 * 0.5 / np.sqrt(80**2 + 0.25)
    assert exact == pytest.approx(0.49999023, abs=5e-9)
    found = []
    for steps in (18, 36, 72):
        ends = integrate(gaussian, np.ones((1, 1)), sigma_schedule(steps, 0.002, 80, 7), sampler)
        found.append(float(ends[0, 0] / exact - 1))
    np.testing.assert_allclose(found, errors, rtol=5e-3)
    ratio = 4.3 if sampler is Sampler.HEUN else 2.0
    np.testing.assert_allclose([found[0] / found[1], found[1] / found[2]], ratio, rtol=0.06)


def test_the_remembering_optimum_gives_back_its_data():
    noise = rng("two points").standard_normal((1000, 1))
    ends = integrate(two_points, noise, sigma_schedule(18, 0.002, 80, 7))
    assert np.all(np.abs(np.abs(ends) - 1) < 1e-3)
    np.testing.assert_array_equal(np.sign(ends), np.sign(noise))


def test_heun_evaluates_twice_a_step_but_the_last():
    calls = []

    def counting(z, sigma):
        calls.append(sigma)
        return gaussian(z, sigma)

    integrate(counting, np.ones((1, 1)), sigma_schedule(18, 0.002, 80, 7))
    assert len(calls) == 35
    assert min(calls) > 0


def test_noise_depends_on_seed_and_key_alone():
    a = keyed_noise(["x", "y", "z"], (4, 4, 1), 3)
    np.testing.assert_array_equal(a[[2, 0]], keyed_noise(["z", "x"], (4, 4, 1), 3))
    assert not np.allclose(a, keyed_noise(["x", "y", "z"], (4, 4, 1), 4))
    assert keyed_noise([], (4, 4, 1), 3).shape == (0, 4, 4, 1)
    many = keyed_noise([str(i) for i in range(400)], (64,), 0)
    assert many.mean() == pytest.approx(0, abs=0.02)
    assert many.std() == pytest.approx(1, abs=0.02)


def test_churn_raises_the_level_as_published():
    """Karras et al. (2022), Algorithm 2: gamma = min(S_churn / N, sqrt(2) - 1) between S_tmin and S_tmax."""
    churn = Churn(amount=4.5, low=0.05, high=50)
    assert churn.raised(1.0, 18) == pytest.approx(1.25)
    assert churn.raised(60.0, 18) == 60.0
    assert churn.raised(0.04, 18) == 0.04
    assert Churn(amount=100).raised(1.0, 18) == pytest.approx(2**0.5)


def test_churn_keeps_the_distribution_and_changes_the_samples():
    """Data N(0, 0.5^2), the exact denoiser: the ends' deviation is 0.5 with churn too, up to 4 standard errors."""
    draw = rng("churn test")
    noise, again = draw.standard_normal((4000, 1)), [draw.standard_normal((4000, 1)) for _ in range(60)]
    levels = sigma_schedule(60, 0.002, 80, 7)
    plain = integrate(gaussian, noise, levels)
    churned = integrate(gaussian, noise, levels, churn=Churn(20, 0.05, 50, 1.0), fresh=lambda step: again[step])
    assert plain.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * 4000))
    assert churned.std() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * 4000))
    assert abs(np.corrcoef(plain[:, 0], churned[:, 0])[0, 1]) < 0.9
    np.testing.assert_array_equal(integrate(gaussian, noise, levels, churn=Churn(0), fresh=lambda step: 1 / 0), plain)
