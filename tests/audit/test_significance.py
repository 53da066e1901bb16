"""p-values: exact against enumeration and SciPy, uniform without a leak, and few false alarms after Holm."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfpdu.audit import (
    Signals,
    auc,
    auc_p_value,
    best_threshold,
    clopper_pearson,
    holm,
    permutation_p_value,
    success_p_value,
    success_rate,
)
from tfpdu.audit.protocols import PROTOCOLS, Sides, as_row, with_holm
from tfpdu.common import UserError

few_scores = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=5)


def _enumerated(members, nonmembers, statistic):
    """Share of the relabellings whose |statistic - 1/2| is as large: the definition, slowly."""
    pooled, n1 = np.array([*members, *nonmembers]), len(members)
    values = []
    for chosen in itertools.combinations(range(len(pooled)), n1):
        mask = np.isin(np.arange(len(pooled)), chosen)
        values.append(abs(statistic(pooled[mask], pooled[~mask]) - 0.5))
    seen = abs(statistic(np.array(members), np.array(nonmembers)) - 0.5)
    return np.mean(np.array(values) >= seen - 1e-12)


@given(few_scores, few_scores)
@settings(max_examples=40, deadline=None)
def test_auc_p_value_of_few_rows_is_exact_with_ties(members, nonmembers):
    expected = _enumerated(members, nonmembers, lambda x, y: auc(x, y).value)
    assert auc_p_value(members, nonmembers) == pytest.approx(expected, abs=1e-12)


@given(few_scores, few_scores, st.integers(0, 6).map(float))
@settings(max_examples=40, deadline=None)
def test_success_p_value_is_exact(members, nonmembers, threshold):
    expected = _enumerated(members, nonmembers, lambda x, y: success_rate(x, y, threshold).success_rate)
    assert success_p_value(members, nonmembers, threshold) == pytest.approx(expected, abs=1e-12)


def test_p_values_known_answers():
    assert auc_p_value([3, 4, 5], [0, 1, 2]) == pytest.approx(2 / 20)  # the most extreme of 20, either way
    assert success_p_value([3, 4, 5], [0, 1, 2], 3) == pytest.approx(2 / 20)
    assert auc_p_value([1, 1], [1, 1]) == 1.0
    assert auc_p_value(np.ones(50), np.ones(50)) == 1.0
    fisher = stats.fisher_exact([[70, 30], [50, 50]]).pvalue  # equal sides: the same order of outcomes
    x, y = np.repeat([1.0, 0.0], [70, 30]), np.repeat([1.0, 0.0], [50, 50])
    assert success_p_value(x, y, 1.0) == pytest.approx(fisher, rel=1e-9)


@pytest.mark.parametrize(("n1", "n0"), [(30, 30), (12, 45)])
def test_auc_p_value_equals_scipys_exact_one(n1, n0):
    generator = np.random.default_rng(n1)
    for shift in (0.0, 0.4, 1.0):
        x, y = generator.normal(shift, 1, n1), generator.normal(0, 1, n0)
        assert auc_p_value(x, y) == pytest.approx(stats.mannwhitneyu(x, y, method="exact").pvalue, rel=1e-9)


def test_auc_p_value_of_many_rows_equals_scipys_and_is_near_the_exact_one():
    generator = np.random.default_rng(0)
    for shift, digits in ((0.0, 9), (0.3, 9), (0.3, 1), (0.1, 0)):
        x, y = generator.normal(shift, 1, 300).round(digits), generator.normal(0, 1, 200).round(digits)
        assert auc_p_value(x, y) == pytest.approx(stats.mannwhitneyu(x, y).pvalue, rel=1e-9)
    for shift in (0.0, 0.2, 0.5, 0.8):
        x, y = generator.normal(shift, 1, 31), generator.normal(0, 1, 31)
        assert auc_p_value(x, y) == pytest.approx(stats.mannwhitneyu(x, y, method="exact").pvalue, abs=0.005)


def test_a_leak_in_reverse_is_as_significant():
    generator = np.random.default_rng(1)
    x, y = generator.normal(0.4, 1, 100), generator.normal(0, 1, 80)
    assert auc_p_value(x, y) == pytest.approx(auc_p_value(y, x), abs=1e-12)


def _sweep(members, nonmembers):
    return success_rate(members, nonmembers, best_threshold(members, nonmembers)).success_rate


def test_permutation_test_of_the_best_threshold_mends_its_optimism():
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(2, 50))
    assert _sweep(x, y) > 0.54
    assert permutation_p_value(x, y, _sweep, seed=0, draws=199) > 0.1
    assert permutation_p_value(x + 1.5, y, _sweep, seed=0, draws=199) == 1 / 200


def test_permutation_test_is_exact_where_small_and_seeded_otherwise():
    x, y = [3.0, 4.0, 5.0], [0.0, 1.0, 2.0]
    mean_gap = lambda a, b: a.mean() - b.mean()  # noqa: E731
    assert permutation_p_value(x, y, mean_gap, seed=0) == pytest.approx(1 / 20)
    assert permutation_p_value(x, y, mean_gap, seed=1) == permutation_p_value(x[::-1], y[::-1], mean_gap, seed=2)
    generator = np.random.default_rng(3)
    many = generator.normal(0.2, 1, 40), generator.normal(0, 1, 40)
    first = permutation_p_value(*many, mean_gap, seed=0, draws=300)
    assert first == permutation_p_value(*many, mean_gap, seed=0, draws=300)
    assert first == permutation_p_value(many[0][::-1], many[1], mean_gap, seed=0, draws=300)
    assert first != permutation_p_value(*many, mean_gap, seed=5, draws=300)
    exact = stats.ttest_ind(*many, alternative="greater").pvalue
    assert first == pytest.approx(exact, abs=0.06)  # 300 draws: one deviation is under 0.03


def test_holm_known_answers():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None, 0.02]) == pytest.approx([0.02, None, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    with pytest.raises(UserError, match="from 0 to 1"):
        holm([1.2])


def _stepping_down(p, alpha):
    """Holm's procedure as he wrote it: test the smallest at alpha / m, the next at alpha / (m - 1), until one fails."""
    rejected = set()
    for place, number in enumerate(sorted(range(len(p)), key=lambda number: p[number])):
        if p[number] * (len(p) - place) > alpha:
            break
        rejected.add(number)
    return rejected


@given(st.lists(st.integers(0, 200).map(lambda k: k / 1000), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_equals_the_step_down_procedure(p, alpha):
    assert {number for number, value in enumerate(holm(p)) if value <= alpha} == _stepping_down(p, alpha)


ATTACKS_ON_TRIAL = (
    "m_loss", "m_mean", "correctness", "confidence_by_class", "entropy", "modified_entropy_by_class", "blind",
)  # fmt: skip


def _exchangeable_sides(generator, n):
    """Four sets of rows of one distribution, as matched held-out rows that pose as members are."""

    def side(prefix):
        p = generator.dirichlet(np.full(4, 0.4), n)
        p = (p + 1e-6) / (p + 1e-6).sum(axis=1, keepdims=True)
        labels = np.where(generator.random(n) < 0.6, p.argmax(axis=1), generator.integers(0, 4, n))
        loss = -np.log(p[np.arange(n), labels])
        views = loss[:, None] * np.exp(generator.normal(0, 0.3, (n, 3)))
        return Signals(np.array([f"{prefix}{i}" for i in range(n)]), labels, loss, views, p)

    return Sides(*(side(prefix) for prefix in ("cm", "cn", "em", "en")))


def _simulate(trials, n):
    """Shares: of trials with an alarm after Holm; of intervals of the success rate and of TPR that cover the truth."""
    alarms, covered, exact, reverse, counted = 0, 0, 0, 0, 0
    for trial in range(trials):
        generator = np.random.default_rng([7, trial])
        sides = _exchangeable_sides(generator, n)
        outcomes = list(PROTOCOLS["holdout"](sides, ATTACKS_ON_TRIAL, trial))
        half = np.arange(n) < n // 2
        outcomes += [outcome.part("half", half, half) for outcome in outcomes]
        rows = with_holm([as_row(one, iteration=0, population="posing", fprs=()) for one in outcomes])
        alarms += any(row["p_holm"] <= 0.05 for row in rows)
        for row in rows:
            covered += row["ci_low"] <= 0.5 <= row["ci_high"]
            reverse += row["reverse"]
            counted += 1
        truth = generator.random()
        low, high = clopper_pearson(generator.binomial(n, truth), n)
        exact += low <= truth <= high
    return alarms / trials, covered / counted, exact / trials, reverse / counted


def test_no_alarm_without_a_leak():
    """150 trials: at a true family-wise error of 5 % a share above 10 % has a chance of 1 in 200; the seed is fixed."""
    alarms, covered, exact, reverse = _simulate(150, 120)
    assert alarms <= 0.1
    assert 0.92 <= covered <= 0.98
    assert exact >= 0.9
    assert reverse <= 0.05


@pytest.mark.slow
def test_a_thousand_audits_without_a_leak():
    alarms, covered, exact, reverse = _simulate(1000, 250)
    assert alarms <= 0.06
    assert 0.93 <= covered <= 0.97
    assert exact >= 0.94
    assert 0.01 <= reverse <= 0.04
