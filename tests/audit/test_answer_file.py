"""Bare answers in an .npz: what is read out of them, and what is refused in one line."""

import numpy as np
import pytest

from tfpdu.audit import AuditSettings
from tfpdu.audit.answer_file import read_answers
from tfpdu.audit.subject import subject_of_answers
from tfpdu.common import UserError

N, C = 60, 3


def sides(views=0, seed=0, n=N):
    """Logits of a model that is surer of its members, with labels."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for side, gain in (("members", 6.0), ("nonmembers", 1.0)):
        labels = rng.integers(0, C, n)
        logits = rng.normal(0, 1, (n, 1 + views, C))
        logits[np.arange(n), :, labels] += gain
        arrays |= {side: logits if views else logits[:, 0], f"{side}_labels": labels}
    return arrays


def written(tmp_path, arrays):
    np.savez(tmp_path / "answers.npz", **arrays)
    return tmp_path / "answers.npz"


def softmax(z):
    e = np.exp(z)
    return e / e.sum(-1, keepdims=True)


def test_losses_of_two_logits_are_the_logistic_loss(tmp_path):
    z = np.array([-3.0, 0.0, 2.0, 40.0])
    table = {"members": np.stack([0 * z, z], 1), "members_labels": np.ones(4, int)}
    table |= {"nonmembers": np.stack([0 * z, z - 0.5], 1), "nonmembers_labels": np.zeros(4, int)}
    signals = read_answers(written(tmp_path, table), "logits").signals
    assert signals.losses0[:4] == pytest.approx(np.log1p(np.exp(-z)), rel=1e-12)
    assert signals.losses0[4:] == pytest.approx(np.log1p(np.exp(z - 0.5)), rel=1e-12)
    assert signals.probabilities[1].tolist() == [0.5, 0.5]
    assert signals.losses.shape == (8, 0)


def test_logits_and_their_softmax_say_the_same(tmp_path):
    arrays = sides(views=4)
    logits = read_answers(written(tmp_path, arrays), "logits")
    arrays |= {side: softmax(arrays[side]) for side in ("members", "nonmembers")}
    probabilities = read_answers(written(tmp_path, arrays), "probabilities")
    assert logits.views == probabilities.views == 4
    for field in ("losses0", "losses", "probabilities", "ids", "labels"):
        a, b = getattr(logits.signals, field), getattr(probabilities.signals, field)
        assert np.array_equal(a, b) if a.dtype.kind in "Ui" else a == pytest.approx(b, rel=1e-9)


def test_plain_rows_come_first_and_views_after_them(tmp_path):
    arrays = sides(views=2)
    signals = read_answers(written(tmp_path, arrays), "logits").signals
    z, y = arrays["members"][5], arrays["members_labels"][5]
    expected = [-np.log(softmax(query)[y]) for query in z]
    assert [signals.losses0[5], *signals.losses[5]] == pytest.approx(expected)


def test_the_usual_attacks_are_those_that_the_file_allows(tmp_path):
    def usual(arrays):
        return subject_of_answers(read_answers(written(tmp_path, arrays), "logits"), "file").usual_attacks()

    plain = usual(sides())
    assert plain == ("blind", "correctness", "m_loss", "entropy", "modified_entropy")
    assert usual(sides(views=2)) == (*plain, "m_mean", "moments")
    references = {f"{side}_references": np.full((N, 4), 0.5) for side in ("members", "nonmembers")}
    assert usual(sides() | references) == (*plain, "lira_offline", "rmia_offline")
    earlier = {f"{side}_earlier": sides()[side] for side in ("members", "nonmembers")}
    assert usual(sides() | earlier) == (*plain, "two_versions")


def test_an_attack_that_needs_what_the_file_has_not_is_named(tmp_path):
    subject = subject_of_answers(read_answers(written(tmp_path, sides()), "logits"), "answers.npz")
    for name, words in (
        ("lira_offline", "needs references, and answers.npz gives none"),
        ("two_versions", "needs earlier"),
        ("moments", "needs answers on views"),
    ):
        with pytest.raises(UserError, match=words):
            subject.attack(AuditSettings(attacks=(name,)))


def test_fewer_rows_than_the_protocol_needs_are_refused(tmp_path):
    subject = subject_of_answers(read_answers(written(tmp_path, sides(n=10)), "logits"), "file")
    with pytest.raises(UserError, match=r"members left out, \d+ matched rows in a role, at least 12 are needed"):
        subject.attack(AuditSettings(attacks=("m_loss",)))


def spoilt(**changes):
    arrays = sides()
    for name, change in changes.items():
        arrays[name] = change(arrays) if callable(change) else change
    return {name: array for name, array in arrays.items() if array is not None}


def nan(arrays):
    members = arrays["members"].copy()
    members[7, 1] = np.nan
    return members


@pytest.mark.parametrize(
    ("kind", "arrays", "words"),
    [
        ("logits", spoilt(members_labels=None), "holds no array 'members_labels'"),
        ("logits", spoilt(member=np.zeros(3)), "unknown array 'member', did you mean 'members'"),
        ("logits", spoilt(members=nan), "members: logits: row 7 has a NaN"),
        ("probabilities", sides(), "members: probabilities: row 0 is no distribution .* are these logits"),
        ("probabilities", spoilt(members=lambda a: 0.9 * softmax(a["members"])), "row 0 is no distribution .sum 0.9"),
        (
            "logits",
            spoilt(**{side: lambda a, side=side: softmax(a[side]) for side in ("members", "nonmembers")}),
            "logits are claimed, but every row sums to 1",
        ),
        ("logits", spoilt(members=np.zeros((N, 1))), "members: one class"),
        ("logits", spoilt(members_labels=np.full(N, C)), "whole numbers from 0 to 2"),
        ("logits", spoilt(members_labels=np.zeros(N - 1, int)), "members_labels has 59 rows, members has 60"),
        ("logits", spoilt(nonmembers=np.ones((N, 4))), "members have .3. numbers a row, nonmembers .4."),
        ("logits", spoilt(nonmembers=lambda a: a["members"], nonmembers_labels=lambda a: a["members_labels"]), "100%"),
        (
            "logits",
            spoilt(members_ids=np.arange(N), nonmembers_ids=np.arange(N) + N - 1),
            r"id '59' is in members_ids and in nonmembers_ids \(1 such\)",
        ),
        ("logits", spoilt(members_ids=np.arange(N)), "holds ids of members alone"),
        (
            "logits",
            spoilt(members_references=np.full((N, 2), 7.0), nonmembers_references=np.full((N, 2), 0.5)),
            "probabilities from 0 to 1",
        ),
        ("logits", spoilt(members=np.array(["a"] * N)), "members: expected numbers"),
    ],
)
def test_bad_arrays_are_refused_in_one_line_that_names_the_file(tmp_path, kind, arrays, words):
    path = written(tmp_path, arrays)
    with pytest.raises(UserError, match=words) as error:
        read_answers(path, kind)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "answers.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"not a readable .npz file"):
        read_answers(tmp_path / "answers.npz", "logits")
    with pytest.raises(UserError, match="no such file"):
        read_answers(tmp_path / "none.npz", "logits")


def test_saturated_answers_are_no_sign_of_rows_on_both_sides(tmp_path):
    sure = np.tile([0.0, 0.0, 80.0], (N, 1))
    labels = np.full(N, 2)
    table = {"members": sure, "nonmembers": sure, "members_labels": labels, "nonmembers_labels": labels}
    assert len(read_answers(written(tmp_path, table), "logits").signals) == 2 * N
