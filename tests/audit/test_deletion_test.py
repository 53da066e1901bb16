"""The test of two hypotheses on deleted rows, and the comparison with a retrained model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfpdu.audit import compare_answers, deletion_errors, deletion_rule, deletion_verdict, success_rate
from tfpdu.common import UserError


def test_errors_known_answer():
    assert deletion_errors(0.8, 0.7, 3, 5) == pytest.approx((0.05792, 0.16308), abs=1e-12)


@pytest.mark.parametrize(("n", "expected"), [(15, 0.1311425734), (30, 0.0021246908)])
def test_best_rule_known_answer(n, expected):
    rule = deletion_rule(0.8, 0.7, n)
    assert rule.false_kept == pytest.approx(expected, abs=1e-10)
    assert rule.false_deleted < 1e-3


percents = st.integers(0, 100).map(lambda percent: percent / 100)


@given(st.integers(1, 25), percents, percents, st.sampled_from([0.05, 1e-3]))
@settings(max_examples=50, deadline=None)
def test_best_rule_equals_a_search_of_all_rules(n, tpr, tnr, level):
    k = np.arange(n + 1)
    members, others = stats.binom.pmf(k, n, 1 - tpr), stats.binom.pmf(k, n, tnr)
    allowed = [others[:s].sum() for s in range(n + 2) if members[s:].sum() < level - 1e-12]
    rule = deletion_rule(tpr, tnr, n, level)
    assert rule.false_deleted < level
    assert rule.false_kept <= min(allowed) + 1e-9


def test_rule_of_an_attack_that_knows_nothing_never_says_deleted_wrongly():
    rule = deletion_rule(0.5, 0.5, 5)
    assert (rule.needed, rule.false_deleted, rule.false_kept) == (6, 0.0, 1.0)
    assert not rule.says_deleted(5)


def test_verdict_on_scores_has_the_errors_it_states():
    generator = np.random.default_rng(0)
    rate = success_rate(generator.normal(1.7, 1, 4000), generator.normal(0, 1, 4000), 0.85)
    verdicts = {"kept": 0, "deleted": 0}
    for _ in range(400):
        for name, centre in (("kept", 1.7), ("deleted", 0.0)):
            rule, deleted = deletion_verdict(generator.normal(centre, 1, 15), rate, level=0.05)
            verdicts[name] += deleted
    assert verdicts["kept"] / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert 1 - verdicts["deleted"] / 400 == pytest.approx(rule.false_kept, abs=0.04)


@pytest.mark.parametrize("arguments", [(1.2, 0.5, 1, 5), (0.5, 0.5, 7, 5), (0.5, 0.5, 0, 0)])
def test_impossible_rates_and_counts_are_refused(arguments):
    with pytest.raises(UserError):
        deletion_errors(*arguments)


def test_retrained_model_is_identical_to_the_bit_or_so_far_away():
    a = np.array([[0.5, 0.5], [0.9, 0.1]])
    same = compare_answers(a, a.copy())
    assert (same.identical, same.largest, same.total_variation, same.agreement, same.n) == (True, 0, 0, 1, 2)
    near = compare_answers(a, np.nextafter(a, 1))
    assert not near.identical
    assert near.largest < 1e-15
    other = compare_answers(a, [[0.2, 0.8], [0.8, 0.2]])
    assert other.largest == pytest.approx(0.3)
    assert (other.total_variation, other.largest_total_variation) == pytest.approx((0.2, 0.3))
    assert other.agreement == 0.5
    assert not compare_answers(a, a.astype(np.float32)).identical
    assert compare_answers(np.asfortranarray(a), a).identical
    with pytest.raises(UserError, match="two tables"):
        compare_answers(a, a[:1])
    with pytest.raises(UserError, match="logits"):
        compare_answers(a, 5 * a)
