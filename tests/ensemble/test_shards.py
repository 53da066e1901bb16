"""Who trains on what: even, by label, a subject in one place, and independent of the table's order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ensemble import tiny
from tfpdu.common import UserError
from tfpdu.ensemble import assign_new, assign_shards


@settings(max_examples=40, deadline=None)
@given(n=st.integers(8, 80), shards=st.integers(1, 6), slices=st.integers(1, 3), seed=st.integers(0, 5))
def test_sizes_and_labels_differ_by_at_most_one_row(n, shards, slices, seed):
    table = tiny.records(n)
    shard, slice_ = assign_shards(table, shards, slices, seed)
    assert shard.dtype == slice_.dtype == np.int32
    assert np.ptp(np.bincount(shard, minlength=shards)) <= 1
    assert slice_.max() < slices
    for label in range(tiny.CLASSES):
        assert np.ptp(np.bincount(shard[table.labels == label], minlength=shards)) <= 1
    for s in range(shards):
        assert np.ptp(np.bincount(slice_[shard == s], minlength=slices)) <= 1


def test_the_order_of_the_table_does_not_matter():
    table = tiny.records(60)
    order = np.random.default_rng(1).permutation(60)
    shard, slice_ = assign_shards(table, 3, 2, 0)
    shard2, slice2 = assign_shards(table.take(order), 3, 2, 0)
    np.testing.assert_array_equal(shard[order], shard2)
    np.testing.assert_array_equal(slice_[order], slice2)
    assert np.any(assign_shards(table, 3, 2, 1)[0] != shard)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["", "anna", "bert", "cleo", "dora", "emil", "fred"]), min_size=30, max_size=60))
def test_a_subject_stays_in_one_shard_and_slice(subjects):
    table = tiny.records(len(subjects), subjects=subjects)
    shard, slice_ = assign_shards(table, 2, 2, 0)
    for subject in set(subjects) - {""}:
        mine = table.subjects == subject
        assert len(set(zip(shard[mine].tolist(), slice_[mine].tolist(), strict=True))) == 1


def test_shards_are_near_even_with_subjects_of_different_sizes():
    subjects = np.repeat([f"s{i}" for i in range(40)], np.arange(40) % 5 + 1)
    shard, _ = assign_shards(tiny.records(len(subjects), subjects=subjects), 4, 1, 0)
    assert np.ptp(np.bincount(shard)) <= 6


@pytest.mark.parametrize(
    ("shards", "slices", "subjects", "message"),
    [
        (0, 1, None, "shards: expected a number of at least 1, got 0"),
        (2, 0, None, "slices: expected a number of at least 1, got 0"),
        (13, 1, None, "shards: 13 asked for, but there are only 12 rows to deal"),
        (4, 1, ["a", "b", "c"] * 4, "shards: 4 asked for, but there are only 3 subjects to deal"),
    ],
)
def test_impossible_numbers_are_refused_in_one_line(shards, slices, subjects, message):
    with pytest.raises(UserError) as error:
        assign_shards(tiny.records(12, subjects=subjects), shards, slices, 0)
    assert str(error.value) == message


def test_added_rows_fill_only_the_shards_that_lost_some():
    table = tiny.records(60)
    ensemble = tiny.settings(shards=3, slices=2)
    shard, slices = assign_shards(table, 3, 2, 0)
    left = np.ones(60, bool)
    left[np.flatnonzero((shard == 1) & (slices == 1))[:7]] = False
    new, rest = tiny.records(7, prefix="new"), table.take(left)
    new_shard, new_slice = assign_new(new, rest, shard[left], slices[left], ensemble, 0)
    assert set(new_shard.tolist()) == {1}
    assert set(new_slice.tolist()) == {1}  # so that the first slice's checkpoint stays


@settings(max_examples=30, deadline=None)
@given(lost=st.lists(st.integers(0, 59), max_size=40, unique=True), extra=st.integers(0, 20), seed=st.integers(0, 3))
def test_sizes_are_even_again_after_rows_were_lost_and_added(lost, extra, seed):
    table = tiny.records(60)
    shard, slices = assign_shards(table, 3, 1, seed)
    left = np.setdiff1d(np.arange(60), lost)
    new = tiny.records(len(lost) + extra, prefix="new")
    new_shard, _ = assign_new(new, table.take(left), shard[left], slices[left], tiny.settings(shards=3), seed)
    sizes = np.bincount(np.concatenate([shard[left], new_shard]), minlength=3)
    assert sizes.sum() == 60 + extra
    assert sizes.max() <= -(-sizes.sum() // 3)
    order = np.random.default_rng(seed).permutation(len(new))
    again, _ = assign_new(new.take(order), table.take(left), shard[left], slices[left], tiny.settings(shards=3), seed)
    np.testing.assert_array_equal(new_shard[order], again)
