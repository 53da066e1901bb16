"""Risk of rows and persons, the spread over seeds, and the forget/retain/test triple."""

import numpy as np
import pytest
from scipy import stats

from tfpdu.audit import PrivacyRisk, auc, by_subject, forget_retain_test, over_seeds, spread
from tfpdu.common import UserError


def test_risk_known_answer():
    """tensorflow-privacy's membership probability of losses 0.1, 0.2, 1, 10 against 0.1, 5, 10, 10 in two bins."""
    members, nonmembers = np.array([0.1, 0.2, 1, 10]), np.array([0.1, 5, 10, 10])
    risk = PrivacyRisk(edges=[0.1, 1, 10]).fit(members, nonmembers)
    assert risk.of(members) == pytest.approx([2 / 3, 2 / 3, 0.4, 0.4])
    assert risk.of(nonmembers) == pytest.approx([2 / 3, 0.4, 0.4, 0.4])
    assert risk.of([-5.0, 99.0]) == pytest.approx([2 / 3, 0.4])


def test_risk_is_calibrated_on_other_rows_of_any_size_of_the_sides():
    generator = np.random.default_rng(0)
    risk = PrivacyRisk(bins=8).fit(generator.normal(1, 1, 20000), generator.normal(0, 1, 5000))
    members, nonmembers = risk.of(generator.normal(1, 1, 20000)), risk.of(generator.normal(0, 1, 20000))
    for value in np.unique(members):
        n1, n0 = (members == value).sum(), (nonmembers == value).sum()
        assert n1 / (n1 + n0) == pytest.approx(value, abs=0.03)
    assert len(np.unique(members)) == 8
    scores = np.linspace(-2, 3, 50)
    assert (np.diff(risk.of(scores)) >= 0).all()


def test_risk_of_a_class_by_its_own_histogram_and_of_a_rare_one_by_all():
    generator = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [300, 300, 5])
    members = np.where(labels == 0, 2, 0) + generator.normal(0, 0.1, 605)
    nonmembers = np.where(labels == 0, 1, 0) + generator.normal(0, 0.1, 605)
    risk = PrivacyRisk(bins=3).fit(members, nonmembers, labels, labels)
    assert risk.of([2.0, 1.0], [0, 0]) == pytest.approx([1.0, 0.0], abs=0.02)
    assert risk.of([0.0], [1]) == pytest.approx([0.5], abs=0.1)
    assert np.array_equal(risk.of([0.7], [2]), risk.of([0.7]))
    assert np.array_equal(risk.of([0.7], [9]), risk.of([0.7]))


def test_risk_of_two_valued_scores_and_of_empty_bins():
    risk = PrivacyRisk(bins=5).fit([1.0] * 90 + [0.0] * 10, [1.0] * 40 + [0.0] * 60)
    assert risk.of([1.0, 0.0]) == pytest.approx([9 / 13, 1 / 7])
    sparse = PrivacyRisk(edges=[0, 1, 2, 3, 4]).fit([0.5, 0.5], [3.5, 3.5])
    assert sparse.of([0.5, 1.5, 2.5, 3.5]).tolist() == [1, 1, 0, 0]  # empty bins take the nearest


def test_risk_before_fit_and_wrong_edges_are_refused():
    with pytest.raises(UserError, match="before fit"):
        PrivacyRisk().of([1.0])
    with pytest.raises(UserError, match="ascending"):
        PrivacyRisk(edges=[1, 0])
    with pytest.raises(UserError, match="bins"):
        PrivacyRisk(bins=0)


def test_persons_by_the_mean_of_their_rows():
    names, means, rows = by_subject([1.0, 2, 3, 4, 5], np.array(["b", "a", "b", "", "a"]))
    assert names.tolist() == ["a", "b"]
    assert means.tolist() == [3.5, 2.0]
    assert rows.tolist() == [2, 2]
    with pytest.raises(UserError, match="one per score"):
        by_subject([1.0], np.array(["a", "b"]))


def test_persons_are_easier_to_find_than_rows():
    generator = np.random.default_rng(2)
    people = np.repeat(np.array([f"p{i}" for i in range(100)]), 8)
    members, nonmembers = generator.normal(0.4, 1, 800), generator.normal(0, 1, 800)
    of_persons = auc(by_subject(members, people)[1], by_subject(nonmembers, people)[1])
    assert of_persons.value > auc(members, nonmembers).value + 0.1


def test_spread_known_answer():
    values = [0.52, 0.55, 0.58]
    found = spread(values)
    assert (found.mean, found.sd, found.low, found.high, found.seeds) == pytest.approx((0.55, 0.03, 0.52, 0.58, 3))
    low, high = stats.t.interval(0.95, 2, 0.55, 0.03 / np.sqrt(3))
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=1e-9)
    with pytest.raises(UserError, match="at least two"):
        spread([0.5])


def _row(attack, value, **more):
    return {"iteration": 0, "attack": attack, "protocol": "holdout", "population": "all", "auc": value} | more


def test_rows_of_several_seeds_belong_together_by_what_they_measure():
    audits = [
        [_row("m_loss", 0.5), _row("m_mean", 0.6), _row("m_mean", 0.9, slice="label=cat")],
        [_row("m_mean", 0.7), _row("m_loss", 0.52), _row("m_mean", 0.8, slice="label=cat")],
    ]
    rows = over_seeds(audits, measures=("auc",))
    assert [(row["attack"], row.get("slice"), row["auc"]["mean"]) for row in rows] == [
        ("m_loss", None, pytest.approx(0.51)),
        ("m_mean", None, pytest.approx(0.65)),
        ("m_mean", "label=cat", pytest.approx(0.85)),
    ]
    with pytest.raises(UserError, match=r"\('m_mean'|'m_mean'"):
        over_seeds([audits[0], audits[1][1:]], measures=("auc",))
    with pytest.raises(UserError, match="two rows"):
        over_seeds([audits[0] * 2, audits[1]], measures=("auc",))
    with pytest.raises(UserError, match="at least two"):
        over_seeds(audits[:1])


def test_triple_of_forget_retain_and_test():
    triple = forget_retain_test([0.5, 0.1], [0.9, 0.8, 0.7], [0.6, 0.2, 0.1])
    assert triple.ft.value == pytest.approx((2 + 0.5) / 6)
    assert triple.fr.value == 1.0  # retained above forgotten
    assert triple.rt.value == 1.0
    assert triple.distance == pytest.approx(abs(2.5 / 6 - 0.5))


def test_triple_of_an_exact_deletion_and_of_none():
    generator = np.random.default_rng(3)
    retain, test = generator.normal(2, 1, 500), generator.normal(0, 1, 500)
    forgotten, kept = (
        forget_retain_test(generator.normal(0, 1, 300), retain, test),
        forget_retain_test(generator.normal(2, 1, 300), retain, test),
    )
    assert forgotten.ft.ci_low < 0.5 < forgotten.ft.ci_high
    assert forgotten.distance < 0.1
    assert kept.fr.ci_low < 0.5 < kept.fr.ci_high
    assert kept.distance > 0.7
