"""LiRA and RMIA by their known answers."""

import numpy as np
import pytest
from scipy import stats

from tfpdu.audit import auc, lira_scores, rmia_scores
from tfpdu.common import UserError

P_X, REFS_X = [0.9, 0.6], [[0.8, 0.4], [0.7, 0.5]]
P_Z, REFS_Z = [0.9, 0.5, 0.3, 0.7], [[0.9, 0.7], [0.5, 0.5], [0.6, 0.2], [0.4, 0.2]]


def test_lira_known_answers():
    ins, outs = [[2, 3, 4]], [[-1, 0, 1]]
    assert lira_scores([2.0], ins, outs) == pytest.approx([2.25], abs=1e-9)
    assert lira_scores([2.0], None, outs, "offline") == pytest.approx([0.9928470608], abs=1e-9)
    assert lira_scores([2.0], None, outs, "offline_two_sided") == pytest.approx([3.7162059792], abs=1e-9)


def test_two_sided_offline_lira_takes_a_strong_nonmember_for_a_member_and_one_sided_does_not():
    outs = [[-1, 0, 1]] * 2
    two_sided = lira_scores([2.0, -2.0], None, outs, "offline_two_sided")
    assert two_sided[0] == pytest.approx(two_sided[1])
    assert lira_scores([2.0, -2.0], None, outs, "offline") == pytest.approx([0.9928470608, 0.0071529392], abs=1e-9)


def test_lira_averages_queries_and_can_share_one_variance():
    ins = [np.array([[2.0, 5], [3, 6], [4, 7]]), np.array([[1.0, 1], [2, 2], [3, 3]])]
    outs = [np.array([[-1.0, 0], [0, 1], [1, 2]]), np.array([[0.0, 0], [1, 1], [2, 2]])]
    target = np.array([[2.0, 5.0], [1.0, 2.0]])
    sd = np.sqrt(2 / 3)
    by_hand = [
        np.mean([stats.norm.logpdf(target[i, k], ins[i][1, k], sd) - stats.norm.logpdf(target[i, k], outs[i][1, k], sd)
                 for k in range(2)])
        for i in range(2)
    ]  # fmt: skip
    for fixed in (False, True):  # all rows have the same deviation here
        assert lira_scores(target, ins, outs, fix_variance=fixed) == pytest.approx(by_hand, abs=1e-9)


def test_lira_refuses_too_few_references():
    with pytest.raises(UserError, match="too few"):
        lira_scores([1.0], [[1.0]], [[0.0]])
    with pytest.raises(UserError, match="all equal"):
        lira_scores([1.0], [[1.0, 1.0]], [[0.0, 1.0]])
    with pytest.raises(UserError, match="did you mean 'offline'"):
        lira_scores([1.0], None, [[0.0, 1.0]], "ofline")


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, [0.75, 0.5]), (2.0, [0.25, 0.0])])
def test_rmia_online_known_answers_with_ties_counted(gamma, expected):
    assert rmia_scores(P_X, REFS_X, P_Z, REFS_Z, gamma).tolist() == expected


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, [1.0, 0.5]), (2.0, [0.25, 0.0])])
def test_rmia_offline_known_answers(gamma, expected):
    out_x, out_z = [[0.4], [0.5]], [[0.8], [0.5], [0.4], [0.3]]
    assert rmia_scores(P_X, out_x, P_Z, out_z, gamma, a=0.3).tolist() == expected


def test_rmia_equals_a_naive_count_and_masks_unused_references():
    generator = np.random.default_rng(0)
    p_x, refs_x = generator.uniform(0.1, 1, 30), generator.uniform(0.1, 1, (30, 6))
    p_z, refs_z = generator.uniform(0.1, 1, 50), generator.uniform(0.1, 1, (50, 6))
    refs_x[generator.random((30, 6)) < 0.4] = np.nan
    refs_x[:, 0] = 0.5
    ratio_x, ratio_z = p_x / np.nanmean(refs_x, 1), p_z / refs_z.mean(1)
    naive = (ratio_x[:, None] / ratio_z >= 1.3).mean(1)
    assert rmia_scores(p_x, refs_x, p_z, refs_z, 1.3) == pytest.approx(naive, abs=1e-12)


def test_both_find_members_of_a_memorising_model():
    generator = np.random.default_rng(1)
    n, R = 300, 8
    hardness = generator.normal(0, 3, n)
    outs, ins = hardness[:, None] + generator.normal(0, 1, (n, R)), hardness[:, None] + generator.normal(3, 1, (n, R))
    member = np.arange(n) < n // 2
    target = np.where(member, hardness + 3, hardness) + generator.normal(0, 1, n)
    plain = auc(target[member], target[~member]).value
    for scores in (lira_scores(target, ins, outs), lira_scores(target, None, outs, "offline", True)):
        assert auc(scores[member], scores[~member]).value > max(0.95, plain + 0.1)

    def p(x):
        return 1 / (1 + np.exp(-x))

    hard_z = generator.normal(0, 3, 400)
    scores = rmia_scores(
        p(target),
        p(outs),
        p(hard_z + generator.normal(0, 1, 400)),
        p(hard_z[:, None] + generator.normal(0, 1, (400, R))),
        a=1,
    )
    assert auc(scores[member], scores[~member]).value > plain + 0.05


def test_rmia_without_a_reference_is_refused():
    with pytest.raises(UserError, match="row 1 of refs_x has no reference"):
        rmia_scores([0.5, 0.5], [[0.5], [np.nan]], [0.5], [[0.5]])
