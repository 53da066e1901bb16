"""Deletion capacities, in theory and measured."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.unlearning import (
    capacity_table,
    deletion_capacity,
    excess_risk_bound,
    gaussian_sigma,
    largest_request,
    measured_capacity,
    newton_noise,
    newton_rate,
    private_rate,
    theorem_guard,
)

# n, m, d, L, lambda, M, epsilon, delta: sqrt(d) sigma L, excess bound, capacity at tau = 0.005
VECTORS = [
    ((50_000, 500, 512, 1, 1, 1, 1, 1e-5), 0.021925, 0.032106, 238.77),
    ((10_000, 100, 50, 1, 0.1, 0.1, 1, 1e-5), 0.685159, 0.790169, 8.54),
]
PROBLEM = dict(n=5000, d=50, lipschitz=1.5, strong_convexity=0.5, hessian_lipschitz=0.3, epsilon=1.0, delta=1e-4)


@pytest.mark.parametrize(("problem", "noise", "excess", "capacity"), VECTORS)
def test_bounds_and_capacity_give_the_worked_numbers(problem, noise, excess, capacity):
    n, _, d, lipschitz, *rest = problem
    _, sigma = newton_noise(*problem)
    assert math.sqrt(d) * sigma * lipschitz == pytest.approx(noise, abs=5e-7)
    assert excess_risk_bound(*problem) == pytest.approx(excess, abs=5e-7)
    assert deletion_capacity(n, d, lipschitz, *rest, tau=0.005) == pytest.approx(capacity, abs=5e-3)


def test_rates_of_resnet18_on_5000_rows_are_86_and_1():
    assert newton_rate(5000, 11_186_112) == pytest.approx(86.457, abs=5e-3)
    assert private_rate(5000, 11_186_112) == pytest.approx(1.495, abs=5e-4)
    # By hand: 1000 * 2 / (16 * ln(1/delta))^(1/4) with ln(1/delta) = 16 is 500; 1000 * 4 / 16 is 250.
    assert newton_rate(1000, 16, 4, math.exp(-16)) == pytest.approx(500)
    assert private_rate(1000, 16, 4, math.exp(-16)) == pytest.approx(250)


def test_the_guard_is_a_share_of_the_rows():
    assert [theorem_guard(n, c) for n, c in [(5000, 0.2), (100, 0.29), (7, 0.5)]] == [1000, 29, 3]


def test_a_quadratic_loss_is_limited_by_the_distance_term_alone():
    """M = 0: the noise is 0, and m / (n - m) + 4 / n <= 0.01 at n = 50,000 gives m <= 491.1."""
    assert deletion_capacity(50_000, 512, 1, 1, 0, 1, 1e-5) == 50_000
    assert largest_request(50_000, 512, 1, 1, 0, 1, 1e-5) == 491


def test_no_row_is_sure_where_the_data_are_too_few():
    assert largest_request(100, 512, 1, 1, 0, 1, 1e-5) == 0


def test_beyond_epsilon_1_the_capacity_takes_the_noise_that_is_proven():
    """At epsilon 50 the textbook's sigma is smaller than the exact one, and is no proof."""
    problem = (5000, 20, 1, 1, 1, 50.0, 1e-5)
    per_gamma = gaussian_sigma(1, 50.0, 1e-5)
    assert per_gamma > math.sqrt(2 * math.log(1.25e5)) / 50
    assert deletion_capacity(*problem) == pytest.approx(5000 * math.sqrt(0.005 / (2 * math.sqrt(20) * per_gamma)))


reals = st.floats(0.05, 5)
problems = st.tuples(
    st.integers(2, 3000), st.integers(1, 600), reals, reals, st.floats(0, 3), st.floats(0.1, 1), st.floats(1e-8, 0.1)
)


@settings(max_examples=60, deadline=None)
@given(problems, st.floats(0.01, 5))
def test_the_largest_request_is_the_one_that_trying_all_would_find(problem, excess):
    n, *rest = problem
    n = 2 + n % 60
    within = [m for m in range(n) if excess_risk_bound(n, m, *rest) <= excess]
    assert largest_request(n, *rest, excess=excess) == max(within, default=0)


@settings(max_examples=100, deadline=None)
@given(problems, st.floats(1e-4, 1))
def test_the_capacity_is_where_the_noise_costs_its_budget(problem, tau):
    n, d, lipschitz, *_ = problem

    def cost(m):
        return math.sqrt(d) * newton_noise(n, m, *problem[1:])[1] * lipschitz

    capacity = deletion_capacity(*problem, tau=tau)
    assert cost(min(math.floor(capacity), n - 1)) <= tau * (1 + 1e-9)
    if math.floor(capacity) + 1 < n:
        assert cost(math.floor(capacity) + 1) > tau * (1 - 1e-9)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.1, 1), st.floats(1e-9, 0.1))
def test_unlearning_scales_with_the_fourth_root_and_privacy_with_the_square_root(n, d, epsilon, delta):
    assert newton_rate(2 * n, 16 * d, epsilon, delta) == pytest.approx(newton_rate(n, d, epsilon, delta))
    assert private_rate(4 * n, 16 * d, epsilon, delta) == pytest.approx(private_rate(n, d, epsilon, delta))
    constant = deletion_capacity(10**9 * n, 10**4 * d, 1, 1, 1, 0.5, 1e-5) / newton_rate(10**9 * n, 10**4 * d)
    assert constant == pytest.approx(deletion_capacity(10**9, 10**4, 1, 1, 1, 0.5, 1e-5) / newton_rate(10**9, 10**4))


def test_the_table_shows_each_figure_with_formula_source_and_kind():
    table = capacity_table(**PROBLEM, c=0.2)
    rows = {figure["name"]: figure["rows"] for figure in table}
    assert rows == {
        "Theorem 1's guard": 1000,
        "Newton step, noise term": deletion_capacity(**PROBLEM),
        "Newton step, all terms": largest_request(**PROBLEM),
        "Newton step, rate": newton_rate(5000, 50),
        "Newton step, rate with epsilon and delta": newton_rate(5000, 50, 1.0, 1e-4),
        "Private learning, rate": private_rate(5000, 50),
        "Private learning, rate with epsilon and delta": private_rate(5000, 50, 1.0, 1e-4),
    }
    assert all(figure["formula"] and figure["source"] for figure in table)
    assert [figure["kind"] for figure in table] == ["upper bound", *["guarantee"] * 2, *["rate"] * 4]


BASE = np.array([0.5, 0.7, 0.6])
LOSSES = {
    100: BASE + np.array([0.050, 0.052, 0.054]),
    10: BASE + np.array([0.002, 0.004, 0.006]),
    50: BASE + np.array([0.008, 0.010, 0.018]),
}


def test_the_measured_capacity_and_its_interval_are_as_by_hand():
    """Mean differences 0.004, 0.012, 0.052; Student's quantile at 2 degrees of freedom is 4.302653.

    Half-widths 4.302653 s / sqrt(3) = 0.004968, 0.013145, 0.004968: at 10 rows the cost is surely within 0.01, at 50 it
    may be, at 100 surely not.
    """
    found = measured_capacity(LOSSES, BASE)
    assert (found.rows, found.low, found.high) == (10, 10, 99)
    assert [point["rows"] for point in found.points] == [10, 50, 100]
    np.testing.assert_allclose([point["excess"] for point in found.points], [0.004, 0.012, 0.052], atol=1e-12)
    halves = [(point["ci_high"] - point["ci_low"]) / 2 for point in found.points]
    np.testing.assert_allclose(halves, [0.004968, 0.013145, 0.004968], atol=1e-6)


def test_pairing_takes_out_what_seeds_have_in_common():
    """Seeds differ by 0.1, their pairs by 0.001: unpaired, nothing at all could be said."""
    found = measured_capacity({20: BASE + np.array([0.001, 0.002, 0.003])}, BASE)
    assert found.low == found.rows == 20
    swapped = measured_capacity({20: BASE[::-1] + np.array([0.001, 0.002, 0.003])}, BASE)
    assert (swapped.low, swapped.rows, swapped.high) == (0, 20, math.inf)


def test_the_reference_may_be_a_retraining_for_each_number_of_rows():
    against = {m: losses - 0.001 * m / 100 for m, losses in LOSSES.items()}
    found = measured_capacity(LOSSES, against)
    np.testing.assert_allclose([point["excess"] for point in found.points], [1e-4, 5e-4, 1e-3], atol=1e-12)
    assert (found.rows, found.low, found.high) == (100, 100, math.inf)


def test_a_number_that_is_good_by_chance_beyond_one_that_is_not_does_not_count():
    found = measured_capacity({1: [0.1, 0.1], 2: [0.3, 0.3], 3: [0.1, 0.1]}, [0.1, 0.1])
    assert (found.rows, found.low) == (1, 1)


def test_nothing_can_be_forgotten_where_one_row_costs_too_much():
    found = measured_capacity({1: [0.3, 0.31], 5: [0.4, 0.41]}, [0.1, 0.1], confidence=0.5)
    assert (found.rows, found.low, found.high) == (0, 0, 0)


def simulated(trials, spread, confidence):
    """Intervals for models that lose exactly 0.01 at 100 rows, and more beyond: the capacity is 100."""
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(trials):
        base = rng.normal(0.5, 0.1, 6)
        losses = {m: base + m * 1e-4 + rng.normal(0, spread, 6) for m in (25, 50, 100, 101, 150, 200)}
        found = measured_capacity(losses, base, confidence=confidence)
        covered += found.low <= 100 <= found.high
    return covered / trials


def test_the_interval_covers_the_capacity_as_often_as_it_says():
    """600 trials at the hardest place, an excess of just 0.01: at least 0.95 - 4 standard errors of 0.0089."""
    assert simulated(600, 0.003, 0.95) >= 0.95 - 4 * 0.0089


def test_an_interval_that_says_less_covers_less_often():
    assert 0.6 <= simulated(600, 0.003, 0.3) < 0.93


@pytest.mark.parametrize(
    ("losses", "reference", "options", "message"),
    [
        ({}, [0.1, 0.2], {}, "no number of forgotten rows"),
        ({0: [0.1, 0.2]}, [0.1, 0.2], {}, "m=0: expected a whole number of rows"),
        ({2: [0.1, 0.2]}, [0.1, 0.2, 0.3], {}, "m=2: expected as many losses"),
        ({2: [0.1]}, [0.1], {}, "m=2: expected as many losses"),
        ({2: [0.1, math.nan]}, [0.1, 0.2], {}, "m=2: seed 1 has no finite loss"),
        ({2: [0.1, 0.2]}, {3: [0.1, 0.2]}, {}, "m=2: the reference has no losses"),
        ({2: [0.1, 0.2]}, [0.1, 0.2], {"confidence": 1.0}, "confidence: expected"),
        ({2: [0.1, 0.2]}, [0.1, 0.2], {"excess": 0}, "excess: expected a number above 0"),
    ],
)
def test_measurements_that_do_not_fit_are_refused_in_one_line(losses, reference, options, message):
    with pytest.raises(UserError, match=message) as error:
        measured_capacity(losses, reference, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: deletion_capacity(**{**PROBLEM, "epsilon": 0}),
        lambda: deletion_capacity(**{**PROBLEM, "delta": 1}),
        lambda: deletion_capacity(**{**PROBLEM, "n": 0}),
        lambda: deletion_capacity(**{**PROBLEM, "d": 2.5}),
        lambda: deletion_capacity(**{**PROBLEM, "strong_convexity": 0}),
        lambda: deletion_capacity(**{**PROBLEM, "hessian_lipschitz": -1}),
        lambda: deletion_capacity(**PROBLEM, tau=0),
        lambda: largest_request(**PROBLEM, excess=-1),
        lambda: excess_risk_bound(**PROBLEM, m=5000),
        lambda: newton_rate(10, 10, epsilon=1.0),
        lambda: newton_rate(0, 10),
        lambda: theorem_guard(10, 1.0),
        lambda: theorem_guard(10, 0.0),
    ],
)
def test_problems_that_make_no_sense_are_refused_in_one_line(call):
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
