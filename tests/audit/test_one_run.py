"""The one-run bound: printed values, closed form, monotonicity, validity."""

import numpy as np
import pytest
from scipy import stats

from tfpdu.audit import one_run_epsilon, one_run_p_value
from tfpdu.common import UserError


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "expected"),
    [
        (1000, 100, 75, 1e-4, 0.6729846634),
        (100000, 1510, 1439, 1e-5, 2.6758510),
        (100, 100, 75, 0.0, 0.7022139309),
        (10, 10, 10, 0.0, 1.0518732332),
        (20, 20, 18, 0.0, 0.9315097228),
        (1000, 1000, 550, 0.0, 0.0942236925),
        (100, 100, 50, 0.0, 0.0),
        (100, 100, 0, 0.0, 0.0),
    ],
)
def test_epsilon_known_answers(m, r, v, delta, expected):
    assert one_run_epsilon(m, r, v, delta, 0.95) == pytest.approx(expected, abs=2e-8)


def test_p_value_known_answers():
    assert one_run_p_value(10, 4, 4, np.log(3), 0.0) == pytest.approx(0.31640625, abs=1e-12)
    assert one_run_p_value(10, 4, 4, np.log(3), 0.01) == pytest.approx(0.40078125, abs=1e-12)


@pytest.mark.parametrize(("r", "v"), [(30, 25), (200, 120), (1000, 999)])
def test_without_delta_it_is_a_clopper_pearson_bound_through_the_logit(r, v):
    q = stats.beta.ppf(0.05, v, r - v + 1)
    assert one_run_epsilon(r, r, v, 0.0, 0.95) == pytest.approx(max(0.0, np.log(q / (1 - q))), abs=1e-9)


def test_p_value_equals_a_naive_sum():
    m, r, v, epsilon, delta = 50, 20, 16, 0.7, 1e-3
    q = 1 / (1 + np.exp(-epsilon))
    pmf = stats.binom.pmf(np.arange(r + 1), r, q)
    alpha = max(pmf[v - i : v].sum() / i for i in range(1, v + 1))
    assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(pmf[v:].sum() + 2 * m * delta * alpha, abs=1e-12)


def test_bound_falls_with_delta_and_confidence_and_rises_with_right_guesses():
    assert one_run_epsilon(500, 100, 80, 1e-3, 0.95) < one_run_epsilon(500, 100, 80, 0.0, 0.95)
    assert one_run_epsilon(500, 100, 80, 0.0, 0.99) < one_run_epsilon(500, 100, 80, 0.0, 0.9)
    bounds = [one_run_epsilon(500, 100, v, 1e-5, 0.95) for v in range(50, 101, 5)]
    assert bounds == sorted(bounds)
    assert one_run_epsilon(100, 100, 100, 0.0, 0.95) == pytest.approx(np.log(0.05**0.01 / (1 - 0.05**0.01)), abs=1e-9)


def test_bound_is_rarely_above_a_true_epsilon():
    """Randomised response with epsilon 1: each guess is right with probability e/(1+e), which is the worst case."""
    q, r = 1 / (1 + np.exp(-1)), 60
    v = np.arange(r + 1)
    false = np.array([one_run_epsilon(r, r, int(k), 0.0, 0.95) > 1 for k in v])
    assert stats.binom.pmf(v, r, q) @ false <= 0.05


@pytest.mark.parametrize("arguments", [(10, 11, 5, 0.0), (10, 5, 6, 0.0), (10, 0, 0, 0.0), (10, 5, 5, 2.0)])
def test_impossible_counts_are_refused(arguments):
    with pytest.raises(UserError, match="one_run"):
        one_run_epsilon(*arguments)
