"""The accountant's figures, the noise they ask for, and the words about them."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm
from tfpdu_configs import digits

from tests.diffusion.conftest import TINY
from tfpdu.common import UserError
from tfpdu.diffusion import GeneratorSettings
from tfpdu.diffusion.private import Privacy, PrivateSettings, epsilon_spent, noise_multiplier, plan, privacy_statement
from tfpdu.settings import Settings

MNIST = 256 / 60_000
FIGURES = Privacy(2.0, 1e-6, 1.3, 1.0, 0.1, 10, 100, "pld")


def renyi(noise, rate, steps, orders):
    """RDP of the Poisson-subsampled Gaussian at whole orders: Mironov et al. (2019), section 3.3."""
    curve = []
    for order in orders:
        k = np.arange(order + 1)
        binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = binomial + (order - k) * math.log1p(-rate) + k * math.log(rate) + (k**2 - k) / (2 * noise**2)
        curve.append(steps * logsumexp(terms) / (order - 1))
    return np.array(curve)


@pytest.mark.parametrize(
    ("noise", "batch", "epochs", "published"),
    [(1.3, 256, 15, 1.19), (1.1, 256, 60, 3.01), (0.7, 256, 45, 7.10), (1.3, 250, 15, 1.18)],
)
def test_published_epsilons_bound_ours(noise, batch, epochs, published):
    """TensorFlow Privacy's MNIST tutorials (delta = 1e-5), from RDP by Mironov's (2017) conversion.

    The accountant converts more tightly (Canonne et al., 2020, proposition 12); at whole orders both are a few lines.
    """
    rate, steps = batch / 60_000, epochs * 60_000 // batch
    orders = np.arange(2, 65)
    curve = renyi(noise, rate, steps, orders)
    assert np.min(curve + math.log(1e5) / (orders - 1)) == pytest.approx(published, rel=0.02)  # they use half orders
    tight = np.min(curve + math.log(1e5) / (orders - 1) + np.log1p(-1 / orders) - np.log(orders) / (orders - 1))
    ours = epsilon_spent(noise, 1e-5, rate, steps, "rdp")
    assert tight * 0.98 < ours <= tight * (1 + 1e-9)
    assert epsilon_spent(noise, 1e-5, rate, steps, "pld") < ours < published


def test_without_sampling_the_epsilon_is_the_exact_gaussian_one():
    """Balle & Wang (2018), theorem 8; T releases are one with noise / sqrt(T)."""
    noise, steps, delta = 6.0, 9, 1e-5
    mu = math.sqrt(steps) / noise
    exact = brentq(
        lambda e: norm.cdf(mu / 2 - e / mu) - math.exp(e) * norm.cdf(-mu / 2 - e / mu) - delta, 1e-3, 20, xtol=1e-10
    )
    assert epsilon_spent(noise, delta, 1.0, steps, "pld") == pytest.approx(exact, rel=1e-3)
    assert exact < epsilon_spent(noise, delta, 1.0, steps, "rdp") < 1.3 * exact


def test_one_sampled_step_has_the_hockey_stick_divergence_of_its_densities():
    noise, rate, delta = 1.2, 0.2, 1e-4

    def stick(epsilon, forward):
        def excess(x):
            with_row = (1 - rate) * norm.pdf(x, 0, noise) + rate * norm.pdf(x, 1, noise)
            without = norm.pdf(x, 0, noise)
            p, q = (with_row, without) if forward else (without, with_row)
            return max(0.0, p - math.exp(epsilon) * q)

        return quad(excess, -12, 14, limit=400, epsabs=1e-11)[0]

    exact = max(brentq(lambda e, f=f: stick(e, f) - delta, 1e-4, 5, xtol=1e-8) for f in (True, False))
    assert epsilon_spent(noise, delta, rate, 1, "pld") == pytest.approx(exact, rel=2e-3)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.floats(1, 5), st.floats(0.001, 0.9), st.integers(1, 2000), st.floats(1e-8, 1e-3), st.floats(1.05, 2))
def test_epsilon_grows_with_steps_and_rate_and_falls_with_noise_and_delta(noise, rate, steps, delta, more):
    here = epsilon_spent(noise, delta, rate, steps, "rdp")
    assert epsilon_spent(noise * more, delta, rate, steps, "rdp") <= here
    assert epsilon_spent(noise, delta * more, rate, steps, "rdp") <= here
    assert epsilon_spent(noise, delta, min(1.0, rate * more), steps, "rdp") >= here
    assert epsilon_spent(noise, delta, rate, math.ceil(steps * more), "rdp") >= here


@pytest.mark.parametrize(("epsilon", "rate", "steps", "accountant"), [(3.0, MNIST, 500, "rdp"), (8.0, 0.27, 60, "pld")])
def test_the_least_noise_is_found(epsilon, rate, steps, accountant):
    noise = noise_multiplier(epsilon, 1e-5, rate, steps, accountant)
    assert epsilon_spent(noise, 1e-5, rate, steps, accountant) <= epsilon
    assert epsilon_spent(noise * 0.996, 1e-5, rate, steps, accountant) > epsilon
    assert float(f"{noise:.4g}") == noise


def test_plans_that_cannot_be_met_are_named():
    private = PrivateSettings(epsilon=3.0, delta=1e-3, accountant="rdp")
    assert plan(private, 100, 10, 20).sampling_rate == 0.1
    assert plan(dataclasses.replace(private, rows=200), 100, 10, 20).sampling_rate == 0.05  # a public number of rows
    with pytest.raises(UserError, match="batch: 101 rows a step are more than the 100"):
        plan(private, 100, 101, 20)
    with pytest.raises(UserError, match=r"private\.delta: expected above 0 and below 1 / rows = 0\.001"):
        plan(private, 1000, 10, 20)
    with pytest.raises(UserError, match=r"private\.epsilon: 1e-09 is out of reach"):
        plan(dataclasses.replace(private, epsilon=1e-9), 100, 100, 1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": -1.0}, r"private\.epsilon"),
        ({"clip_norm": 0.0}, r"private\.clip_norm"),
        ({"multiplicity": 0}, r"private\.multiplicity"),
        ({"chunk": 0}, r"private\.chunk"),
        ({"delta": 1.5}, r"private\.delta"),
        ({"accountant": "rpd"}, "did you mean 'rdp'"),
    ],
)
def test_settings_out_of_range_are_named(changes, message):
    with pytest.raises(UserError, match=message):
        GeneratorSettings(private=changes)


def test_ordinary_generators_keep_their_names():
    """Settings of private training name a generator only when it is private."""
    assert "private" not in TINY.training()
    assert dataclasses.replace(TINY, private={"clip_norm": 2.0}).training() == TINY.training()
    private = dataclasses.replace(TINY, private={"epsilon": 4.0})
    assert private.training() != dataclasses.replace(TINY, private={"epsilon": 5.0}).training()
    assert GeneratorSettings(**dataclasses.asdict(private)) == private


@settings(max_examples=50, derandomize=True)
@given(st.floats(0.01, 3), st.floats(1e-12, 1e-6), st.integers(1, 8))
def test_group_privacy_is_single_privacy_step_by_step(epsilon, delta, m):
    """P(T) <= e^eps P1(T) + delta, P1(T) <= e^eps P2(T) + delta, ...: m times."""
    factor, slack = 1.0, 0.0
    for _ in range(m):
        factor, slack = factor * math.exp(epsilon), slack * math.exp(epsilon) + delta
    figures = dataclasses.replace(FIGURES, epsilon=epsilon, delta=delta)
    whole = figures.group_epsilon(m)
    assert whole[0] == pytest.approx(math.log(factor))
    assert whole[1] == pytest.approx(min(1, slack))


def test_large_groups_have_no_guarantee():
    assert FIGURES.group_epsilon(1) == (2.0, 1e-6)
    assert FIGURES.group_epsilon(10_000) == (20_000.0, 1.0)
    with pytest.raises(UserError, match="at least 1"):
        FIGURES.group_epsilon(0)


def test_the_statement_claims_no_more_than_holds():
    words = " ".join(privacy_statement(FIGURES, 3))
    assert "Per deleted record, epsilon = 2 at delta = 1e-06" in words
    assert "e^2 = 7.39" in words
    assert "For the 3 deleted records together, epsilon = 6 at delta = 6.3e-05" in words
    assert "Generator only" in words
    assert "Whole pipeline" not in words
    assert "together" not in " ".join(privacy_statement(FIGURES, 1))
    assert "nothing is guaranteed" in " ".join(privacy_statement(FIGURES, 50))
    assert "Generator only" in " ".join(
        privacy_statement(FIGURES, 1, originals_train_classifier=False, steering_public=False)
    )
    whole = " ".join(privacy_statement(FIGURES, 1, originals_train_classifier=False))
    assert "Whole pipeline" in whole
    assert "Generator only" not in whole
    assert all("quality gate" in " ".join(privacy_statement(FIGURES, m)) for m in (1, 3))


def test_presets_can_make_the_generator_private():
    config = digits.get_config()
    assert not Settings.from_config(config).generator.private.epsilon
    config.generator.private.epsilon = 4.0
    assert Settings.from_config(config).generator.private == PrivateSettings(epsilon=4.0)
    config.generator.private.delta = 7.0
    with pytest.raises(UserError, match=r"config\.generator\.private\.delta: expected a number from 0 to 1"):
        Settings.from_config(config)
