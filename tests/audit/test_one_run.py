"""The one-run bound: printed values, closed form, monotonicity, validity."""

import numpy as np
import pytest
from scipy import stats

from tfpdu.audit import Guesses, coin_flips, fix_guesses, one_run_audit, one_run_epsilon, one_run_p_value
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


def test_coins_are_fair_and_each_is_its_own():
    ids = [f"row-{i}" for i in range(20_000)]
    coins = coin_flips(ids, 3)
    assert coins.mean() == pytest.approx(0.5, abs=0.015)  # four deviations
    assert np.array_equal(coin_flips(ids[::-2], 3), coins[::-2])
    assert np.mean(coin_flips(ids, 4) == coins) == pytest.approx(0.5, abs=0.015)
    assert np.mean(coins[1:] == coins[:-1]) == pytest.approx(0.5, abs=0.015)


def test_audit_counts_its_guesses_by_hand():
    scores = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    included = np.array([1, 1, 0, 1, 0, 1, 0, 0, 1, 0], bool)
    audit = one_run_audit(scores, included, Guesses(0.3, 0.2))
    assert (audit.m, audit.r, audit.v) == (10, 5, 3)  # two of 9, 8, 7 were in, one of 1, 0 was out
    everyone = one_run_audit(included.astype(float), included, Guesses(0.5, 0.5))
    assert (everyone.r, everyone.v) == (10, 10)
    assert everyone.epsilon == pytest.approx(1.0518732332, abs=1e-8)


def test_bound_of_a_known_table_is_the_printed_one():
    """m = 1000, r = 100 guesses, 75 of them right, delta = 1e-4: 0.673."""
    included = np.zeros(1000, bool)
    included[:75] = True  # of the 100 highest scores
    audit = one_run_audit(-np.arange(1000.0), included, Guesses(0.1, 0.0), delta=1e-4)
    assert (audit.m, audit.r, audit.v) == (1000, 100, 75)
    assert audit.epsilon == pytest.approx(0.6729846634, abs=2e-8)


def test_order_of_the_table_does_not_decide_between_equal_scores():
    """A model that knows nothing, and a table with the trained canaries first."""
    included = np.arange(400) < 200
    for table in (included, ~included):
        audit = one_run_audit(np.zeros(400), table, Guesses(0.5, 0.5))
        assert audit.v == pytest.approx(200, abs=40)
        assert audit.epsilon < 0.2


def test_guesses_fixed_on_other_canaries_keep_the_confidence():
    """No leak: in at most about 5 % of the runs is the bound above 0, though the guesses were optimised."""
    false, optimistic, trials = 0, 0, 150
    for trial in range(trials):
        generator = np.random.default_rng([1, trial])
        scores, included = generator.normal(size=(2, 300)), generator.random((2, 300)) < 0.5
        guesses = fix_guesses(scores[0], included[0])
        optimistic += one_run_audit(scores[0], included[0], guesses).epsilon > 0
        false += one_run_audit(scores[1], included[1], guesses, seed=trial).epsilon > 0
    assert false / trials <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)
    assert optimistic / trials > 0.15  # the trap: the best of many guesses on the very canaries they are counted on


def test_guesses_follow_the_tail_that_leaks():
    generator = np.random.default_rng(2)
    included = generator.random(4000) < 0.5
    scores = generator.normal(0, 1, 4000)
    scores[included & (generator.random(4000) < 0.1)] += 6  # a tenth of the members stands out, nothing else
    guesses = fix_guesses(scores, included)
    assert guesses.share_in <= 0.1
    assert guesses.share_out == 0.0
    assert (
        one_run_audit(scores, included, guesses).epsilon
        > 2
        > one_run_audit(scores, included, Guesses(0.5, 0.5)).epsilon
    )


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: Guesses(0.7, 0.4), "more than all"),
        (lambda: Guesses(-0.1, 0.4), "share_in"),
        (lambda: one_run_audit(np.zeros(4), np.ones(4), Guesses(0.5, 0.5)), r"included bool\[4\], got float64"),
        (lambda: one_run_audit(np.zeros(4), np.ones(4, bool), Guesses(0.1, 0.0)), "no guess about 4"),
        (lambda: one_run_audit([np.nan], np.ones(1, bool), Guesses(1.0, 0.0)), "canary scores: score 0 is NaN"),
    ],
)
def test_wrong_guesses_and_tables_are_refused(call, complaint):
    with pytest.raises(UserError, match=complaint):
        call()
