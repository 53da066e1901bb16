import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unlearning.benchmark.tables import rows
from tfpdu.common import UserError
from tfpdu.unlearning.benchmark import KINDS, Scenario
from tfpdu.unlearning.benchmark.scenarios import class_quotas

TABLE = rows(60, "train")


def task(name, seed=0, **more):
    return Scenario.parse(name).task(TABLE, seed, **more)


def test_a_random_share_is_a_draw_by_seed_and_id_whatever_the_order_of_the_table():
    forget = task("random:0.25").forget
    assert forget.sum() == 15
    turned = Scenario.parse("random:0.25").task(TABLE.take(np.arange(60)[::-1]), 0).forget
    assert np.array_equal(forget, turned[::-1])
    assert not np.array_equal(forget, task("random:0.25", seed=1).forget)


def test_a_class_goes_as_a_whole_by_name_or_number():
    assert np.array_equal(task("class:middle").forget, TABLE.labels == 1)
    assert np.array_equal(task("class:1").forget, TABLE.labels == 1)


def test_a_subject_is_the_one_named_or_the_one_with_the_most_rows():
    assert np.array_equal(task("subject:train-2").forget, TABLE.subjects == "train-2")
    assert np.array_equal(task("subject").forget, TABLE.subjects == "train-0")  # the first of the largest


def test_a_group_is_all_its_rows_or_a_share_of_the_table_from_it():
    assert np.array_equal(task("group:tone=dark").forget, TABLE.column("tone") == 0)
    some = task("group:tone=light:0.1").forget
    assert some.sum() == 6
    assert (TABLE.column("tone")[some] == 1).all()


def test_successive_requests_are_disjoint_and_of_one_size():
    requests = task("successive:5x0.1").requests
    assert [int(r.sum()) for r in requests] == [6] * 5
    assert np.sum(requests, axis=0).max() == 1


def test_no_retain_forgets_a_share_and_says_that_retained_rows_are_not_at_hand():
    plain, bare = task("random:0.1"), task("no_retain:0.1")
    assert plain.retained
    assert not bare.retained
    assert bare.forget.sum() == plain.forget.sum()


def test_confusion_swaps_labels_of_as_large_a_share_of_either_class_and_forgets_those_rows():
    found = task("confusion:left-right:0.5")
    swapped = found.labels != TABLE.labels
    assert np.array_equal(swapped, found.forget)
    assert found.confused == (0, 2)
    assert [int((TABLE.labels[swapped] == c).sum()) for c in range(3)] == [10, 0, 10]
    assert np.array_equal(found.labels[swapped], 2 - TABLE.labels[swapped])


def test_the_worst_rows_are_the_most_memorised():
    memorised = np.random.default_rng(0).normal(size=60)
    found = task("worst:0.1", memorised=lambda: memorised).forget
    assert memorised[found].min() > memorised[~found].max()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rnadom:0.1", "did you mean 'random'"),
        ("random:1.5", "expected a share such as 0.1"),
        ("random", "expected a share such as 0.1"),
        ("class:midle", "did you mean 'middle'"),
        ("subject:ada", "no rows of the subject 'ada'"),
        ("group:tone", "expected group:attribute=value"),
        ("group:tone=grey", "unknown 'grey'"),
        ("group:colour=grey", "unknown attribute 'colour'"),
        ("successive:0.1", "expected requests and share"),
        ("successive:5x0.2", "are all 60 rows"),
        ("confusion:left-left", "expected two classes"),
        ("worst:0.1", "needs a model"),
    ],
)
def test_a_scenario_that_cannot_be_is_refused_in_one_line(name, words):
    with pytest.raises(UserError, match=words) as refused:
        task(name)
    assert "\n" not in str(refused.value)


@given(st.floats(0.02, 0.9), st.integers(0, 5))
def test_whatever_share_is_asked_for_some_rows_go_and_some_stay(share, seed):
    forget = task(f"random:{share}", seed).forget
    assert 0 < forget.sum() < 60
    assert forget.sum() == max(1, round(share * 60))


def test_every_kind_says_how_it_is_written():
    assert all(words.startswith(kind) for kind, (_, words) in KINDS.items())


def test_quotas_keep_the_shares_of_others_as_far_as_the_scarcest_class_and_the_most_allow():
    labels = np.repeat([0, 1, 2], [10, 4, 7])
    assert class_quotas(labels, np.array([0, 0, 1]), 21).tolist() == [8, 4, 0]  # 4 of class 1 is all there is
    assert class_quotas(labels, np.array([0, 0, 1]), 3).tolist() == [2, 1, 0]
    assert class_quotas(labels, np.array([0, 3]), 21).tolist() == [0, 0, 0, 0]  # class 3 has no row to take
