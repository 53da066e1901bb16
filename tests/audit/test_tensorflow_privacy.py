"""The adapter to tensorflow-privacy: known answers, agreement with our statistics, no leaking global state."""

import subprocess
import sys

import numpy as np
import pytest

from tfpdu.audit import Signals, auc, best_threshold, lira_scores, logit_statistic, modified_entropy, success_rate
from tfpdu.audit import tensorflow_privacy as adapter
from tfpdu.audit.protocols import as_row, with_holm
from tfpdu.common import UserError
from tfpdu.testing import memorised_signals


def _signals(losses, prefix):
    losses = np.asarray(losses, np.float64)
    own = np.exp(-losses)
    ids = np.array([f"{prefix}{i}" for i in range(len(losses))])
    return Signals(ids, np.zeros(len(losses), int), losses, losses[:, None], np.stack([own, 1 - own], axis=1))


def tfp_rows(members, nonmembers, *names, **options):
    """Of audit.json, as an audit writes them."""
    outcomes = adapter.run_attacks(members, nonmembers, names, 0, **options)
    return with_holm([as_row(one, iteration=2, population="forgotten", fprs=(0.1,)) for one in outcomes])


MEMBERS, NONMEMBERS = _signals([0.1, 0.2, 0.4], "m"), _signals([0.3, 0.5, 0.6], "n")


def test_threshold_attack_known_answers():
    row = tfp_rows(MEMBERS, NONMEMBERS, "threshold")[0]
    assert (row["attack"], row["protocol"]) == ("tfp_threshold", "tensorflow_privacy")
    assert (row["iteration"], row["population"]) == (2, "forgotten")
    assert row["auc"] == pytest.approx(8 / 9, abs=1e-9)
    assert 2 * row["success_rate"] - 1 == pytest.approx(2 / 3, abs=1e-9)  # their advantage
    assert tfp_rows(NONMEMBERS, MEMBERS, "threshold")[0]["auc"] == pytest.approx(1 / 9, abs=1e-9)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # upstream's bounds divide by zero
def test_auc_and_advantage_equal_upstreams_on_random_losses():
    members, nonmembers = memorised_signals(150, 2, seed=3)
    structures, attack = adapter.load("data_structures"), adapter.load("membership_inference_attack")
    data = structures.AttackInputData(loss_train=members.losses0**0.1, loss_test=nonmembers.losses0[:90] ** 0.1)
    (result,) = attack.run_attacks(data).single_attack_results
    ours, theirs = -data.loss_train, -data.loss_test
    assert auc(ours, theirs).value == pytest.approx(result.get_auc(), abs=1e-9)
    rate = success_rate(ours, theirs, best_threshold(ours, theirs)).success_rate
    assert 2 * rate - 1 == pytest.approx(result.get_attacker_advantage(), abs=1e-9)


def test_entropy_attack_works_from_probabilities():
    members, nonmembers = memorised_signals(100, 2, seed=4)
    before = members.probabilities.copy()
    (row,) = tfp_rows(members, nonmembers, "entropy")
    assert row["attack"] == "tfp_entropy"
    assert row["auc"] > 0.9
    assert np.array_equal(members.probabilities, before)


@pytest.mark.parametrize(("attacker", "rows"), [("lr", 30), ("knn", 60)])
def test_trained_attackers_find_a_memorising_model(attacker, rows):
    members, nonmembers = memorised_signals(rows, 4, seed=5)
    (row,) = tfp_rows(members, nonmembers, attacker)
    assert row["attack"] == f"tfp_{attacker}"
    assert row["auc"] > 0.9


def test_trained_attackers_repeat_and_leave_the_global_random_state():
    members, nonmembers = memorised_signals(60, 4, seed=5)
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    rows = tfp_rows(members, nonmembers, "knn")
    assert np.array_equal(np.random.random(3), expected)
    np.random.seed(99)
    order = np.random.default_rng(0).permutation(60)
    assert tfp_rows(members.take(order), nonmembers, "knn") == rows


def test_trained_attackers_take_moments():
    members, nonmembers = memorised_signals(40, 4, seed=6)
    (row,) = tfp_rows(members, nonmembers, "knn", features="moments")
    assert row["auc"] > 0.9
    assert (row["n_members"], row["n_nonmembers"]) == (40, 40)


def test_trained_attackers_without_a_leak_are_near_one_half():
    pairs = [memorised_signals(120, 4, seed=seed)[1] for seed in (7, 8)]
    (row,) = tfp_rows(*pairs, "knn")
    assert row["auc_ci_low"] <= 0.5 <= row["auc_ci_high"]


@pytest.mark.slow
@pytest.mark.parametrize("attacker", ["mlp", "rf"])
def test_slow_attackers(attacker):
    members, nonmembers = memorised_signals(60, 4, seed=9)
    (row,) = tfp_rows(members, nonmembers, attacker)
    assert row["attack"] == f"tfp_{attacker}"
    assert row["auc"] > 0.9


def test_too_few_rows_for_a_trained_attacker_are_refused():
    with pytest.raises(UserError, match="at least 12"):
        tfp_rows(MEMBERS, NONMEMBERS, "lr")


def test_membership_probability_known_answer():
    data = adapter.load("data_structures").AttackInputData(
        loss_train=np.array([0.1, 0.2, 1, 10]), loss_test=np.array([0.1, 5, 10, 10])
    )
    result = adapter.load("membership_inference_attack")._compute_membership_probability(data, num_bins=2)
    assert result.train_membership_probs == pytest.approx([2 / 3, 2 / 3, 0.4, 0.4])
    assert result.test_membership_probs == pytest.approx([2 / 3, 0.4, 0.4, 0.4])


def test_lira_and_its_statistic_equal_upstreams_with_the_sign_turned():
    advanced = adapter.load("advanced_mia")
    generator = np.random.default_rng(0)
    target = generator.normal(size=(4, 2))
    ins = [generator.normal(1, 1, (5, 2)) for _ in range(4)]
    outs = [generator.normal(0, 1, (6, 2)) for _ in range(4)]
    theirs = advanced.compute_score_lira(
        target, stat_in=ins, stat_out=outs, option="both", fix_variance=False, median_or_mean="median"
    )
    assert lira_scores(target, ins, outs) == pytest.approx(-np.asarray(theirs), abs=1e-9)
    p = generator.dirichlet(np.ones(5), 20)
    labels = generator.integers(0, 5, 20)
    theirs = advanced.calculate_statistic(p.copy(), labels, is_logits=False, option="logit")
    assert logit_statistic(p, labels) == pytest.approx(theirs, abs=1e-9)
    entropy = adapter.load("data_structures").AttackInputData._get_entropy(p, labels)
    assert modified_entropy(p, labels) == pytest.approx(entropy, abs=1e-9)


def test_audit_imports_neither_tensorflow_nor_scikit_learn_and_the_adapter_no_tensorflow():
    code = (
        "import sys, tfpdu.audit; heavy = {'tensorflow', 'sklearn', 'keras', 'tensorflow_privacy'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "from tfpdu.audit import tensorflow_privacy as a; a.load('membership_inference_attack');"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
