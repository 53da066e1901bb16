import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.data.views import row_keys
from tfpdu.debiasing.batches import balanced_batches, plain_batches

KEYS = row_keys([f"row{i}" for i in range(200)])


def first(batches, count):
    return list(itertools.islice(batches, count))


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6), batch=st.integers(1, 40), seed=st.integers(0, 3))
def test_each_step_draws_each_group_evenly_within_one_row(sizes, batch, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    total = np.zeros(len(sizes), int)
    for step in first(balanced_batches(KEYS[: len(groups)], groups, batch, seed), 9):
        counts = np.bincount(groups[step.rows], minlength=len(sizes))
        assert len(step.rows) == batch
        assert counts.max() - counts.min() <= 1
        total += counts
    assert total.max() - total.min() <= 1  # and what is over goes round


def test_a_group_is_walked_over_whole_before_a_row_comes_twice():
    groups = np.array([0] * 5 + [1] * 20)
    steps = first(balanced_batches(KEYS[:25], groups, 4, 0), 10)
    drawn = np.concatenate([step.rows for step in steps])
    turns = np.concatenate([step.turns for step in steps])
    small = groups[drawn] == 0
    for turn in range(4):
        assert sorted(drawn[small & (turns == turn)].tolist()) == [0, 1, 2, 3, 4]
    assert sorted(drawn[~small].tolist()) == list(range(5, 25))


def test_rows_without_a_group_are_never_drawn():
    groups = np.array([0, 1, -1, -1, 0, 1])
    drawn = np.concatenate([step.rows for step in first(balanced_batches(KEYS[:6], groups, 3, 0), 8)])
    assert set(drawn.tolist()) == {0, 1, 4, 5}
    with pytest.raises(UserError, match="no row"):
        next(balanced_batches(KEYS[:2], np.array([-1, -1]), 3, 0))


def test_the_order_depends_on_seed_and_id_and_not_on_the_place():
    groups = np.arange(20) % 2
    shuffle = np.random.default_rng(0).permutation(20)
    here = first(balanced_batches(KEYS[:20], groups, 4, 5), 6)
    there = first(balanced_batches(KEYS[:20][shuffle], groups[shuffle], 4, 5), 6)
    assert [KEYS[b.rows].tolist() for b in here] == [KEYS[:20][shuffle][b.rows].tolist() for b in there]
    other = first(balanced_batches(KEYS[:20], groups, 4, 6), 6)
    assert [b.rows.tolist() for b in here] != [b.rows.tolist() for b in other]


def test_plain_batches_walk_over_all_rows_again_and_again():
    steps = first(plain_batches(KEYS[:10], 4, 0), 6)
    assert [len(step.rows) for step in steps] == [4, 3, 3] * 2
    for turn in (0, 1):
        own = steps[3 * turn : 3 * turn + 3]
        assert sorted(np.concatenate([step.rows for step in own]).tolist()) == list(range(10))
        assert {int(t) for step in own for t in step.turns} == {turn}
