"""The attacks one by one: known answers of the papers and their code, and what each must not do."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from tfpdu.audit import ATTACKS, References, Signals, auc, best_threshold, lira_scores, rmia_scores, success_rate
from tfpdu.audit.attacks import (
    AdversarialConfidence,
    Blind,
    Confidence,
    ConfidenceByClass,
    Correctness,
    Entropy,
    EntropyByClass,
    LiraOffline,
    LiraOfflineTwoSided,
    LiraOnline,
    MLoss,
    ModifiedEntropy,
    ModifiedEntropyByClass,
    RmiaOffline,
    RmiaOnline,
    TwoVersions,
)
from tfpdu.audit.attacks.two_versions import features
from tfpdu.common import UserError
from tfpdu.testing import memorised_signals

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]])
LABELS = np.array([0, 0, 2])


def _signals(p, labels, prefix="r", **extras):
    p, labels = np.asarray(p, np.float64), np.asarray(labels)
    losses = -np.log(np.maximum(p[np.arange(len(p)), labels], 1e-300))
    ids = np.array([f"{prefix}{i:04d}" for i in range(len(p))])
    return Signals(ids, labels, losses, losses[:, None].copy(), p, **extras)


def _confident(own, labels, prefix="r", classes=2):
    """Signals whose true class has the probability `own`."""
    own, labels = np.asarray(own, np.float64), np.asarray(labels)
    p = np.repeat(((1 - own) / (classes - 1))[:, None], classes, axis=1)
    p[np.arange(len(own)), labels] = own
    return _signals(p, labels, prefix)


def test_scores_of_single_answers_by_their_known_values():
    signals = _signals(P, LABELS)
    assert Correctness().score(signals).tolist() == [1, 0, 1]
    assert Confidence().score(signals) == pytest.approx([0.7, 0.1, 0.5], abs=1e-12)
    assert Entropy().score(signals) == pytest.approx([-0.8018185525, -0.6390318597, -1.0397207708], abs=1e-10)
    assert ModifiedEntropy().score(signals) == pytest.approx([-0.1621672450, -3.3704129652, -0.4904146265], abs=1e-10)


def test_correctness_is_the_generalisation_gap():
    """Training accuracy 0.9, test accuracy 0.6: the rate is 1/2 + 0.3 / 2 (Yeom et al. 2018)."""
    members = _confident(np.where(np.arange(100) < 90, 0.8, 0.2), np.zeros(100, int))
    nonmembers = _confident(np.where(np.arange(100) < 60, 0.8, 0.2), np.zeros(100, int))
    attack = Correctness()
    assert success_rate(attack.score(members), attack.score(nonmembers), 1.0).success_rate == pytest.approx(0.65)


def test_confidence_orders_rows_as_the_loss_does_and_entropy_ignores_the_label():
    members, nonmembers = memorised_signals(200, 2, seed=0)
    by_confidence, by_loss = (auc(a.score(members), a.score(nonmembers)).value for a in (Confidence(), MLoss()))
    assert by_confidence == pytest.approx(by_loss, abs=1e-12)
    turned = dataclasses.replace(members, labels=(members.labels + 1) % 10)
    assert np.array_equal(Entropy().score(turned), Entropy().score(members))
    assert (ModifiedEntropy().score(turned) < ModifiedEntropy().score(members)).all()


def test_class_thresholds_known_answer():
    """Song and Mittal: one threshold 0.8 gives 75 %, the class thresholds 0.8 and 0.2 give 100 %."""
    labels = np.array([0, 0, 1, 1])
    members, nonmembers = _confident([0.9, 0.8, 0.3, 0.2], labels), _confident([0.7, 0.6, 0.1, 0.05], labels)
    attack = ConfidenceByClass(least_rows=2)
    attack.fit(members, nonmembers, 0)
    scores = [attack.score(side) for side in (members, nonmembers)]
    assert scores[0] == pytest.approx([0.1, 0, 0.1, 0], abs=1e-9)
    assert success_rate(*scores, -1e-9).success_rate == 1.0
    one = [Confidence().score(side) for side in (members, nonmembers)]
    assert success_rate(*one, best_threshold(*one)).success_rate == 0.75


@pytest.mark.parametrize("make", [ConfidenceByClass, EntropyByClass, ModifiedEntropyByClass])
def test_class_thresholds_help_where_classes_differ(make):
    generator = np.random.default_rng(0)
    n = 400
    labels = generator.integers(0, 4, n)
    level = np.array([0.3, 0.5, 0.7, 0.88])[labels]
    sides = []
    for shift in (0.04, -0.04):
        own = np.clip(level + shift + generator.normal(0, 0.03, n), 0.26, 0.99)
        sides.append(_confident(own, labels, "x", 5))
    attack = make()
    plain = attack._attack
    attack.fit(*(side.take(np.arange(0, n, 2)) for side in sides), 0)
    evaluation = [side.take(np.arange(1, n, 2)) for side in sides]
    with_classes = auc(*(attack.score(side) for side in evaluation)).value
    assert with_classes > auc(*(plain.score(side) for side in evaluation)).value + 0.05
    assert success_rate(*(attack.score(side) for side in evaluation), 0.0).success_rate > 0.75


def test_rare_class_has_the_threshold_of_all_and_no_infinite_one():
    labels = np.array([0] * 30 + [1] * 3)
    members, nonmembers = _confident(np.linspace(0.6, 0.9, 33), labels), _confident(np.linspace(0.3, 0.6, 33), labels)
    attack = ConfidenceByClass()
    attack.fit(members, nonmembers, 0)
    common = best_threshold(Confidence().score(members), Confidence().score(nonmembers))
    assert attack.score(members)[30:] == pytest.approx(Confidence().score(members)[30:] - common, abs=1e-12)
    unseen = _confident([0.5], [2], classes=3)  # as in code that gives such a class the threshold 0: all are members
    wide = [
        dataclasses.replace(s, probabilities=np.pad(s.probabilities, ((0, 0), (0, 1)))) for s in (members, nonmembers)
    ]
    attack.fit(*wide, 0)
    assert attack.score(unseen) == pytest.approx([0.5 - common])
    attack.fit(nonmembers, members, 0)  # in reverse: best to call nobody a member
    assert np.isfinite(attack.score(members)).all()
    assert (attack.score(members) < 0).all()


def test_blind_baseline_sees_ids_alone_and_is_at_one_half():
    members, nonmembers = memorised_signals(2000, 1, seed=0)
    attack = Blind()
    attack.fit(members, nonmembers, 5)
    area = auc(attack.score(members), attack.score(nonmembers))
    assert area.ci_low < 0.5 < area.ci_high
    assert np.array_equal(attack.score(members), attack.score(dataclasses.replace(nonmembers, ids=members.ids)))
    first = attack.score(members)
    attack.fit(members, nonmembers, 6)
    assert not np.array_equal(first, attack.score(members))
    assert stats.kstest(first, "uniform").pvalue > 0.01


def test_adversarial_confidence_is_the_probability_on_the_perturbed_image():
    """Song, Shokri, Mittal's example: 0.9, 0.8, 0.4 against 0.7, 0.5, 0.3 gives 5/6."""
    sides = [
        dataclasses.replace(_signals(P, LABELS), adversarial=_confident(own, LABELS, classes=3).probabilities)
        for own in ([0.9, 0.8, 0.4], [0.7, 0.5, 0.3])
    ]
    scores = [AdversarialConfidence().score(side) for side in sides]
    assert np.exp(scores[0]) == pytest.approx([0.9, 0.8, 0.4])
    assert success_rate(*scores, best_threshold(*scores)).success_rate == pytest.approx(5 / 6)


def _with_references(own, ins, outs, prefix="r"):
    """Rows with statistics log(p / (1 - p)) as given: target [n], references [n, R_in] and [n, R_out]."""

    def p(statistic):
        return 1 / (1 + np.exp(-np.asarray(statistic, np.float64)))

    ins, outs = np.asarray(ins), np.asarray(outs)
    table = p(np.concatenate([ins, outs], axis=1))
    included = np.zeros(table.shape, bool)
    included[:, : ins.shape[1]] = True
    base = _confident(p(own), np.zeros(len(own), int), prefix)
    return dataclasses.replace(base, references=References(table, included))


INS, OUTS = [[2.0, 3, 4]], [[-1.0, 0, 1]]


def test_lira_known_answers_in_its_three_modes():
    rows = _with_references([2.0, -2.0], INS * 2, OUTS * 2)
    for fix in (False, True):  # both rows have the same deviation
        attacks = [make(fix_variance=fix) for make in (LiraOnline, LiraOffline, LiraOfflineTwoSided)]
        for attack in attacks:
            attack.fit(rows, rows, 0)
        online, offline, two_sided = (attack.score(rows) for attack in attacks)
        assert online[0] == pytest.approx(2.25, abs=1e-6)
        assert stats.norm.cdf(offline) == pytest.approx([0.9928470608, 0.0071529392], abs=1e-9)
        assert two_sided == pytest.approx([3.7162059792] * 2, abs=1e-6)  # takes the strong non-member for a member


def test_lira_tells_rows_apart_where_the_probability_has_rounded_to_one():
    rows = _with_references([12.0, 20.0, 30.0], INS * 3, [[-1.0, 0.0, 1.0]] * 3)
    attack = LiraOffline(fix_variance=True)
    attack.fit(rows, rows, 0)
    assert (np.diff(attack.score(rows)) > 0).all()
    assert (np.diff(lira_scores([12.0, 20, 30], None, [[-1, 0, 1]] * 3, "offline")) == 0).all()


def test_lira_learns_one_deviation_from_few_references_and_each_rows_own_from_many():
    generator = np.random.default_rng(1)
    for count in (4, 64):
        rows = _with_references(
            generator.normal(0, 1, 50),
            generator.normal(2, 1, (50, count // 2)),
            generator.normal(0, 1, (50, count // 2)),
        )
        attack, told = LiraOnline(), LiraOnline(fix_variance=count < 64)
        for one in (attack, told):
            one.fit(rows, rows, 0)
        assert np.array_equal(attack.score(rows), told.score(rows))


def test_online_attacks_need_references_of_both_kinds_and_name_the_row():
    rows = _with_references([0.0, 1.0], INS * 2, OUTS * 2)
    none_in = dataclasses.replace(rows, references=References(rows.references.probabilities, np.zeros((2, 6), bool)))
    for attack in (LiraOnline(), RmiaOnline()):
        with pytest.raises(UserError, match=rf"^{attack.name}: row 'r0000' has no reference trained with it$"):
            attack.fit(none_in, none_in, 0)
    LiraOffline().fit(none_in, none_in, 0)


def test_rmia_known_answers():
    """The four worked cases: online and offline with a = 0.3, gamma 1 and 2; ties count."""

    def rows(p, references, prefix, included):
        base = _confident(p, np.zeros(len(p), int), prefix)
        return dataclasses.replace(base, references=References(np.array(references), np.array(included)))

    both = [True, False]
    x = rows([0.9, 0.6], [[0.8, 0.4], [0.7, 0.5]], "x", [both] * 2)
    z = rows([0.9, 0.5, 0.3, 0.7], [[0.9, 0.7], [0.5, 0.5], [0.6, 0.2], [0.4, 0.2]], "z", [both] * 4)
    for gamma, expected in ((1.0, [0.75, 0.5]), (2.0, [0.25, 0.0])):
        attack = RmiaOnline(gamma)
        attack.fit(x, z, 0)
        assert attack.score(x).tolist() == expected
    z_out = rows([0.9, 0.5, 0.3, 0.7], [[0.1, 0.8], [0.1, 0.5], [0.1, 0.4], [0.1, 0.3]], "z", [both] * 4)
    for gamma, expected in ((1.0, [1.0, 0.5]), (2.0, [0.25, 0.0])):
        attack = RmiaOffline(gamma)
        attack.fit(x, z_out, 0)  # the references that were trained on a row are passed over
        assert attack.score(x).tolist() == expected


def test_rmia_does_not_compare_a_population_row_with_itself():
    generator = np.random.default_rng(2)
    n = 40
    p, references = generator.uniform(0.1, 0.9, n), generator.uniform(0.1, 0.9, (n, 3))
    rows = dataclasses.replace(
        _confident(p, np.zeros(n, int)), references=References(references, np.zeros((n, 3), bool))
    )
    for gamma in (1.0, 1.5):
        attack = RmiaOffline(gamma, a=1.0)
        attack.fit(rows, rows, 0)
        naive = [
            rmia_scores(p[i : i + 1], references[i : i + 1], np.delete(p, i), np.delete(references, i, 0), gamma, 1.0)[
                0
            ]
            for i in range(n)
        ]
        assert attack.score(rows) == pytest.approx(naive, abs=1e-12)


def test_rmia_chooses_a_on_the_calibration_rows():
    members, nonmembers = memorised_signals(100, 1, seed=3, extras=("references",))
    chosen = RmiaOffline(a=None)
    chosen.fit(members, nonmembers, 0)
    areas = {}
    for a in np.round(np.linspace(0, 1, 11), 1):
        fixed = RmiaOffline(a=float(a))
        fixed.fit(members, nonmembers, 0)
        areas[float(a)] = auc(fixed.score(members), fixed.score(nonmembers)).value
    assert areas[chosen.a] == max(areas.values())


@pytest.mark.parametrize("name", ["lira_online", "lira_offline", "rmia_online", "rmia_offline"])
def test_references_find_hard_members_that_the_plain_loss_misses(name):
    generator = np.random.default_rng(4)
    n, R = 400, 16
    hardness = generator.normal(0, 3, (2, n))
    sides = []
    for member, hard, prefix in ((1, hardness[0], "m"), (0, hardness[1], "n")):
        included = generator.random((n, R)) < 0.5  # whoever trains a reference flips coins for both sides alike
        table = hard[:, None] + 3 * included + generator.normal(0, 1, (n, R))
        own = _confident(1 / (1 + np.exp(-(hard + 3 * member + generator.normal(0, 1, n)))), np.zeros(n, int), prefix)
        sides.append(dataclasses.replace(own, references=References(1 / (1 + np.exp(-table)), included)))
    attack = ATTACKS[name]()
    attack.fit(*(side.take(np.arange(n // 2)) for side in sides), 0)
    rest = [side.take(np.arange(n // 2, n)) for side in sides]
    area, plain = (auc(*(one.score(side) for side in rest)).value for one in (attack, MLoss()))
    assert area > plain + 0.08


def test_features_of_two_versions_by_hand():
    rows = dataclasses.replace(_signals([[0.6, 0.4]], [0]), earlier=np.array([[0.9, 0.1]]))
    change = np.log(-np.log(0.9)) - np.log(-np.log(0.6))
    by_hand = [0.3, 0.3, change, -change, np.sqrt(0.18)]
    assert features(rows)[0] == pytest.approx(by_hand, abs=1e-6)


def test_two_versions_find_deleted_rows_where_each_version_alone_is_blind():
    """Only the change tells: the deleted rows' answers are, before as well as after, like the strangers'."""
    generator = np.random.default_rng(5)
    n = 300
    sides = []
    for gain, prefix in ((0.15, "deleted"), (0.0, "stranger")):
        now = generator.uniform(0.1, 0.8, n)
        then = now + gain * generator.random(n) + generator.normal(0, 0.01, n)
        answers = _confident(now, np.zeros(n, int), prefix)
        sides.append(dataclasses.replace(answers, earlier=np.stack([then, 1 - then], axis=1)))
    attack = TwoVersions()
    attack.fit(*(side.take(np.arange(n // 2)) for side in sides), 0)
    rest = [side.take(np.arange(n // 2, n)) for side in sides]
    assert auc(*(attack.score(side) for side in rest)).value > 0.85
    assert abs(auc(*(MLoss().score(side) for side in rest)).value - 0.5) < 0.08


def test_two_versions_of_one_model_tell_nothing():
    generator = np.random.default_rng(6)
    same = [_confident(generator.uniform(0.1, 0.9, 40), np.zeros(40, int), prefix) for prefix in ("m", "n")]
    same = [dataclasses.replace(side, earlier=side.probabilities) for side in same]
    attack = TwoVersions()
    attack.fit(*same, 0)
    scores = np.concatenate([attack.score(side) for side in same])
    assert np.ptp(scores) == 0


@pytest.mark.parametrize("name", sorted(name for name, attack in ATTACKS.items() if hasattr(attack, "requires")))
def test_missing_extras_are_refused_in_one_line(name):
    members, nonmembers = memorised_signals(20, 2, seed=0)
    attack = ATTACKS[name]()
    with pytest.raises(UserError, match=rf"^{name}: the signals have no [^\n]+$"):
        attack.fit(members, nonmembers, 0)


@pytest.mark.parametrize("name", ["confidence_by_class", "lira_offline", "rmia_online", "two_versions"])
def test_attack_that_learns_refuses_to_score_before_it_has(name):
    members, _ = memorised_signals(20, 2, seed=0, extras=getattr(ATTACKS[name], "requires", ()))
    with pytest.raises(UserError, match=f"^{name}: score before fit$"):
        ATTACKS[name]().score(members)


def test_extras_go_along_with_their_rows():
    members, _ = memorised_signals(30, 2, seed=0, extras=("references", "adversarial", "earlier"))
    rows = np.array([7, 3, 3, 21])
    for taken in (members.take(rows), members.of(members.ids[rows])):
        assert np.array_equal(taken.references.probabilities, members.references.probabilities[rows])
        assert np.array_equal(taken.references.included, members.references.included[rows])
        assert np.array_equal(taken.adversarial, members.adversarial[rows])
        assert np.array_equal(taken.earlier, members.earlier[rows])
    half = members.take(np.arange(30) % 2 == 0)
    assert len(half.references) == 15


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"references": lambda: References(np.full((2, 3), 0.5), np.zeros((2, 3), bool))}, "references has 2 rows"),
        ({"references": lambda: References(np.full((3, 3), 1.5), np.zeros((3, 3), bool))}, "from 0 to 1"),
        ({"references": lambda: References(np.full((3, 3), 0.5), np.zeros((3, 2), bool))}, r"included bool\[3, 3\]"),
        ({"references": lambda: References(np.full((3, 0), 0.5), np.zeros((3, 0), bool))}, r"float\[n, R\]"),
        ({"earlier": lambda: np.full((3, 2), 0.5)}, r"earlier must be \[3, 3\]"),
    ],
)
def test_extras_of_another_shape_are_refused(change, complaint):
    with pytest.raises(UserError, match=complaint):
        _signals(P, LABELS, **{name: make() for name, make in change.items()})
