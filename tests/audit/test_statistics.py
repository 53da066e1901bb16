"""Rates, thresholds and intervals: known answers, SciPy and scikit-learn as oracles, coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from tfpdu.audit import (
    auc,
    balanced_interval,
    best_threshold,
    clopper_pearson,
    hanley_mcneil_se,
    success_rate,
    tpr_at_fpr,
)
from tfpdu.common import UserError

IN, OUT = [0.9, 0.8, 0.7, 0.3, 0.2], [0.75, 0.6, 0.4, 0.1, 0.05]
few_scores = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (45, 100, 0.3503202292, 0.5527198112),
        (450, 1000, 0.4188517097, 0.4814434666),
        (2250, 5000, 0.4361430205, 0.4639154037),
        (37, 100, 0.2755665796, 0.4723516406),
        (3505, 5000, 0.6880953978, 0.7136695443),
        (0, 1000, 0.0, 0.0036820839),
        (1, 1000, 2.5317e-5, 0.0055589243),
    ],
)
def test_clopper_pearson_known_answers(successes, trials, low, high):
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=1e-9)


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.999]))
@settings(max_examples=60, deadline=None)
def test_clopper_pearson_equals_scipy(trials, share, confidence):
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, "exact")
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("n", [7, 40])
def test_clopper_pearson_covers_at_least_95_percent_exactly(n):
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for p in np.linspace(0.01, 0.99, 33):
        inside = [low <= p <= high for low, high in intervals]
        assert stats.binom.pmf(np.arange(n + 1), n, p) @ inside >= 0.95 - 1e-12


def test_box_interval_known_answer():
    assert balanced_interval(40, 50, 35, 50, method="box") == pytest.approx((0.5888803564, 0.8724272111), abs=1e-9)


def test_mover_interval_lies_within_the_box_and_around_the_rate():
    low, high = balanced_interval(40, 50, 35, 50)
    box_low, box_high = balanced_interval(40, 50, 35, 50, method="box")
    assert box_low < low < 0.75 < high < box_high
    # By hand: MOVER's two distances from the exact intervals of 40/50 and 35/50.
    (l1, u1), (l0, u0) = clopper_pearson(40, 50), clopper_pearson(35, 50)
    assert low == pytest.approx(0.75 - 0.5 * np.sqrt((0.8 - l1) ** 2 + (0.7 - l0) ** 2), abs=1e-12)
    assert high == pytest.approx(0.75 + 0.5 * np.sqrt((u1 - 0.8) ** 2 + (u0 - 0.7) ** 2), abs=1e-12)


def test_interval_of_a_perfect_attack_is_not_a_point():
    low, high = balanced_interval(50, 50, 50, 50)
    assert 0.9 < low < 0.99
    assert high == 1.0


def _exact_coverage(n, tpr, tnr):
    """Sums the probability of all pairs of counts whose interval covers the true rate."""
    truth, covered = (tpr + tnr) / 2, 0.0
    p1, p0 = stats.binom.pmf(np.arange(n + 1), n, tpr), stats.binom.pmf(np.arange(n + 1), n, tnr)
    for k1 in np.flatnonzero(p1 > 1e-5):
        for k0 in np.flatnonzero(p0 > 1e-5):
            low, high = balanced_interval(int(k1), n, int(k0), n)
            covered += p1[k1] * p0[k0] * (low <= truth <= high)
    return covered / (p1[p1 > 1e-5].sum() * p0[p0 > 1e-5].sum())


@pytest.mark.parametrize(("tpr", "tnr"), [(0.5, 0.5), (0.8, 0.6), (0.97, 0.3)])
def test_mover_coverage_is_near_nominal(tpr, tnr):
    assert 0.945 <= _exact_coverage(150, tpr, tnr) <= 0.975


def test_success_rate_by_hand():
    result = success_rate([3, 2, 1], [0, 2, 0, 0], 2)
    assert (result.tpr, result.tnr) == (2 / 3, 3 / 4)
    assert result.success_rate == pytest.approx(17 / 24)
    assert (result.n_members, result.n_nonmembers, result.threshold) == (3, 4, 2.0)
    assert (result.ci_low, result.ci_high) == balanced_interval(2, 3, 3, 4)


def test_success_rate_can_be_below_one_half():
    assert success_rate([0, 0, 0], [1, 1, 1], 0.5).success_rate == 0.0


def _best_by_hand(members, nonmembers):
    candidates = sorted({*members, *nonmembers, np.inf})
    values = [np.mean(np.array(members) >= t) / 2 + np.mean(np.array(nonmembers) < t) / 2 for t in candidates]
    return max(zip(values, candidates, strict=True), key=lambda pair: (round(pair[0], 12), pair[1]))


@given(few_scores, few_scores)
@settings(max_examples=200, deadline=None)
def test_best_threshold_equals_brute_force_and_never_loses_to_guessing(members, nonmembers):
    value, threshold = _best_by_hand(members, nonmembers)
    assert best_threshold(members, nonmembers) == threshold
    rate = success_rate(members, nonmembers, threshold).success_rate
    assert rate == pytest.approx(value)
    assert rate >= 0.5


def test_best_threshold_of_song_2019():
    members, nonmembers = [0.9, 0.8, 0.4], [0.7, 0.5, 0.3]
    assert best_threshold(members, nonmembers) == 0.8
    assert success_rate(members, nonmembers, 0.8).success_rate == pytest.approx(5 / 6)
    for no_signal in (([0.5] * 3, [0.5] * 3), ([0.1, 0.2], [0.3, 0.4])):
        threshold = best_threshold(*no_signal)
        assert threshold == np.inf
        assert success_rate(*no_signal, threshold).success_rate == 0.5


def test_class_thresholds_of_song_and_mittal_2021():
    members, nonmembers, classes = (
        np.array([0.9, 0.8, 0.3, 0.2]),
        np.array([0.7, 0.6, 0.1, 0.05]),
        np.array([0, 0, 1, 1]),
    )
    threshold = best_threshold(members, nonmembers)
    assert (threshold, success_rate(members, nonmembers, threshold).success_rate) == (0.8, 0.75)
    for code, expected in ((0, 0.8), (1, 0.2)):
        own = classes == code
        assert best_threshold(members[own], nonmembers[own]) == expected
        assert success_rate(members[own], nonmembers[own], expected).success_rate == 1.0


def test_best_threshold_is_fast():
    generator = np.random.default_rng(0)
    members, nonmembers = generator.normal(0.2, 1, 300_000), generator.normal(0, 1, 300_000)
    assert best_threshold(members, nonmembers) == pytest.approx(0.1, abs=0.2)


def test_in_sample_threshold_is_optimistic_without_any_leak():
    generator = np.random.default_rng(1)
    rates = []
    for _ in range(150):
        members, nonmembers = generator.normal(size=(2, 100))
        rates.append(success_rate(members, nonmembers, best_threshold(members, nonmembers)).success_rate)
    assert np.mean(rates) == pytest.approx(0.541, abs=0.006)


def test_auc_known_answers():
    assert auc(IN, OUT).value == pytest.approx(0.72, abs=1e-12)
    assert hanley_mcneil_se(0.72, 5, 5) == pytest.approx(0.1691818892, abs=1e-9)
    assert hanley_mcneil_se(0.7, 2500, 2500) == pytest.approx(0.0073474391, abs=1e-9)


def test_auc_of_tensorflow_privacy_known_answers():
    members, nonmembers = -np.array([0.1, 0.2, 0.4]), -np.array([0.3, 0.5, 0.6])
    assert auc(members, nonmembers).value == pytest.approx(8 / 9, abs=1e-12)
    assert auc(nonmembers, members).value == pytest.approx(1 / 9, abs=1e-12)


@given(few_scores, few_scores)
@settings(max_examples=100, deadline=None)
def test_auc_equals_scikit_learn_and_scipy_with_ties(members, nonmembers):
    truth = [1] * len(members) + [0] * len(nonmembers)
    area = auc(members, nonmembers)
    assert area.value == pytest.approx(metrics.roc_auc_score(truth, members + nonmembers), abs=1e-9)
    u = stats.mannwhitneyu(members, nonmembers, method="asymptotic" if len(members) > 1 else "auto").statistic
    assert area.value == pytest.approx(u / len(members) / len(nonmembers), abs=1e-9)
    assert 0 <= area.ci_low <= area.value <= area.ci_high <= 1
    swapped = auc(nonmembers, members)
    assert (swapped.value, swapped.ci_low, swapped.ci_high) == pytest.approx(
        (1 - area.value, 1 - area.ci_high, 1 - area.ci_low), abs=1e-9
    )


def test_delong_error_equals_a_naive_computation():
    generator = np.random.default_rng(2)
    members, nonmembers = generator.normal(0.5, 1, 40).round(1), generator.normal(0, 2, 30).round(1)
    wins = (members[:, None] > nonmembers) + 0.5 * (members[:, None] == nonmembers)
    variance = np.var(wins.mean(1), ddof=1) / 40 + np.var(wins.mean(0), ddof=1) / 30
    assert auc(members, nonmembers).se == pytest.approx(np.sqrt(variance), abs=1e-12)


def test_auc_interval_of_separated_groups_shrinks_with_n_and_is_no_point():
    small, large = auc(np.ones(10), np.zeros(10)), auc(np.ones(1000), np.zeros(1000))
    assert small.ci_low < large.ci_low < 1.0
    assert large.ci_low > 0.99
    assert small.ci_high == large.ci_high == 1.0
    reverse = auc(np.zeros(10), np.ones(10))
    assert (reverse.ci_low, reverse.ci_high) == pytest.approx((0.0, 1 - small.ci_low), abs=1e-9)


@pytest.mark.parametrize(
    ("shift", "spread", "truth"),
    # The last: members in the middle of wide non-members, where Hanley and McNeil's error is too small.
    [(0.0, 1.0, 0.5), (1.0, 1.0, stats.norm.cdf(1 / np.sqrt(2))), (0.0, 0.05, 0.5)],
)
def test_auc_interval_coverage(shift, spread, truth):
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(600):
        area = auc(generator.normal(shift, spread, 100), generator.normal(0, 1, 100))
        covered += area.ci_low <= truth <= area.ci_high
    assert 0.925 <= covered / 600 <= 0.975


@pytest.mark.parametrize(("fpr", "expected"), [(0, 0.4), (0.2, 0.6), (0.4, 0.6), (1, 1.0)])
def test_tpr_at_fpr_known_answers(fpr, expected):
    assert tpr_at_fpr(IN, OUT, fpr) == pytest.approx(expected)


def test_tpr_at_fpr_is_unresolvable_below_one_in_n():
    assert tpr_at_fpr(IN, OUT, 0.1) is None
    scores = np.arange(1000.0)
    assert tpr_at_fpr(scores, scores, 0.0009) is None
    assert tpr_at_fpr(scores, scores, 0.001) == 0.001


@given(few_scores, few_scores, st.sampled_from([0.1, 0.25, 0.5, 0.75]))
@settings(max_examples=150, deadline=None)
def test_tpr_at_fpr_equals_brute_force(members, nonmembers, fpr):
    x, y = np.array(members), np.array(nonmembers)
    value = tpr_at_fpr(x, y, fpr)
    if len(y) * fpr < 1:
        assert value is None
    else:
        thresholds = [*x, *y, np.inf]
        assert value == max(np.mean(x >= t) for t in thresholds if np.mean(y >= t) <= fpr)


@pytest.mark.parametrize("bad", [[], [[1.0]], [np.nan, 1.0]])
def test_bad_scores_get_one_line(bad):
    for call in (best_threshold, auc, lambda x, y: success_rate(x, y, 0), lambda x, y: tpr_at_fpr(x, y, 0.1)):
        with pytest.raises(UserError, match=r"^members: [^\n]+$"):
            call(bad, [1.0])


@pytest.mark.slow
def test_holdout_success_rate_covers_one_half_on_exchangeable_scores():
    generator = np.random.default_rng(4)
    covered = exact = 0
    for _ in range(1000):
        fit_in, fit_out, members, nonmembers = np.exp(generator.normal(size=(4, 500)))
        rate = success_rate(members, nonmembers, best_threshold(fit_in, fit_out))
        covered += rate.ci_low <= 0.5 <= rate.ci_high
        truth = stats.norm.sf(np.log(rate.threshold)) if np.isfinite(rate.threshold) else 0.0
        low, high = clopper_pearson(round(rate.tpr * 500), 500)
        exact += low <= truth <= high
    assert 0.93 <= covered / 1000 <= 0.97
    assert exact / 1000 >= 0.94
