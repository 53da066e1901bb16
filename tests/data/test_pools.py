import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.data import Pools, PoolSizes, concatenate, cut_pools

SIZES = PoolSizes(private=48, non_members_calibration=6, non_members_evaluation=12, auxiliary=12, public=24, test=18)


def tables(pools):
    return {field.name: getattr(pools, field.name) for field in dataclasses.fields(pools)}


def test_pools_are_disjoint_exact_and_have_each_class_in_proportion(make_records):
    pools = tables(cut_pools(make_records(), SIZES, 0))
    assert {name: len(table) for name, table in pools.items()} == dataclasses.asdict(SIZES)
    assert len(set(itertools.chain(*(table.ids.tolist() for table in pools.values())))) == 120
    for table in pools.values():
        assert np.ptp(np.bincount(table.labels, minlength=3)) == 0


def test_unbalanced_classes_keep_their_shares_within_one_row(make_records):
    records = make_records(120)
    records = records.take((records.labels != 0) | (np.arange(120) < 30))  # 10, 40, 40
    pools = cut_pools(records, PoolSizes(45, 0, 0, 18, 0, 27), 0)
    for table in (pools.private, pools.auxiliary, pools.test):
        expected = np.array([10, 40, 40]) * len(table) / 90
        assert np.abs(np.bincount(table.labels, minlength=3) - expected).max() <= 1


def test_shares_that_sum_to_one_use_every_row(make_records):
    pools = cut_pools(make_records(119), PoolSizes(0.47, 0.1, 0.1, 0.15, 0.0, 0.18), 0)
    assert sum(len(table) for table in tables(pools).values()) == 119
    assert len(pools.private) == pytest.approx(0.47 * 119, abs=1)


def test_the_cut_does_not_depend_on_the_order_of_the_rows(make_records):
    records = make_records()
    shuffled = records.take(np.random.default_rng(0).permutation(120))
    first, second = cut_pools(records, SIZES, 0).ids(), cut_pools(shuffled, SIZES, 0).ids()
    assert {name: set(ids) for name, ids in first.items()} == {name: set(ids) for name, ids in second.items()}


def test_another_pool_seed_is_another_cut(make_records):
    assert cut_pools(make_records(), SIZES, 0).ids() != cut_pools(make_records(), SIZES, 1).ids()


def test_recorded_ids_restore_the_pools(make_records):
    records = make_records()
    pools = cut_pools(records, SIZES, 0)
    again = Pools.from_ids(records, pools.ids())
    for name, table in tables(pools).items():
        np.testing.assert_array_equal(table.images, getattr(again, name).images)


def test_recorded_ids_that_overlap_or_miss_a_pool_are_refused(make_records):
    records = make_records()
    ids = cut_pools(records, SIZES, 0).ids()
    with pytest.raises(UserError, match="more than once"):
        Pools.from_ids(records, {**ids, "test": [*ids["test"], ids["private"][0]]})
    with pytest.raises(UserError, match="expected private"):
        Pools.from_ids(records, {"private": []})
    with pytest.raises(UserError, match="unknown id 'gone'"):
        Pools.from_ids(records, {**ids, "test": ["gone"]})


def test_the_official_test_partition_is_the_test_pool_and_nothing_else(make_records):
    records = concatenate([make_records(90), make_records(30, prefix="set/test")])
    pools = cut_pools(records, dataclasses.replace(SIZES, private=36, test="official"), 0)
    assert set(pools.test.ids) == set(records.ids[90:])
    assert not any("/test/" in row_id for name, ids in pools.ids().items() if name != "test" for row_id in ids)


def test_a_set_without_official_test_partition_says_so(make_records):
    with pytest.raises(UserError, match="no official test partition"):
        cut_pools(make_records(), dataclasses.replace(SIZES, test="official"), 0)


def test_sizes_beyond_the_data_set_are_refused_with_both_numbers(make_records):
    with pytest.raises(UserError, match=r"private 100 \+ .* = 172 rows, the data set has 120$"):
        cut_pools(make_records(), dataclasses.replace(SIZES, private=100), 0)


@pytest.mark.parametrize("name", ["private", "test"])
def test_an_empty_private_or_test_pool_is_refused(make_records, name):
    with pytest.raises(UserError, match=f"config.pools.{name}: 0 leaves the pool empty"):
        cut_pools(make_records(), dataclasses.replace(SIZES, **{name: 0}), 0)


@pytest.mark.parametrize(
    "change", [{"private": -1}, {"private": 1.5}, {"public": "official"}, {"test": "oficial"}, {"auxiliary": True},
               {"private": float("nan")}, {"private": None}]
)  # fmt: skip
def test_sizes_that_are_neither_count_nor_share_are_refused(change):
    with pytest.raises(UserError, match=f"{next(iter(change))}: expected a number of rows"):
        dataclasses.replace(SIZES, **change)


def test_shares_above_one_are_refused():
    with pytest.raises(UserError, match=r"sum to 1\.1"):
        PoolSizes(0.5, 0.1, 0.1, 0.2, 0.0, 0.2)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=120, max_size=120), st.integers(0, 5), st.booleans())
def test_nobody_is_in_two_pools(make_records_session, people, seed, by_share):
    subjects = np.array([f"p{p}" if p else "" for p in people])
    sizes = PoolSizes(0.4, 0.1, 0.1, 0.2, 0.0, 0.2) if by_share else PoolSizes(30, 5, 5, 10, 0, 10)
    try:
        pools = cut_pools(make_records_session(subjects=subjects), sizes, seed)
    except UserError:  # people with many rows may not fit; that is said, not cut apart
        return
    seen = {}
    for name, table in tables(pools).items():
        for row_id, person in zip(table.ids.tolist(), table.subjects.tolist(), strict=True):
            assert seen.setdefault(person or row_id, name) == name
    if not by_share:
        assert all(len(getattr(pools, name)) >= size for name, size in dataclasses.asdict(sizes).items())


def test_people_on_both_sides_of_the_official_partition_are_refused(make_records):
    records = concatenate(
        [make_records(90, subjects=np.full(90, "p1")), make_records(30, prefix="set/test", subjects=np.full(30, "p1"))]
    )
    with pytest.raises(UserError, match="'p1' is inside and outside"):
        cut_pools(records, dataclasses.replace(SIZES, private=10, test="official"), 0)


def test_whole_people_that_do_not_fit_are_refused(make_records):
    subjects = np.array([f"p{row % 2}" for row in range(120)])
    with pytest.raises(UserError, match="keep the rows of a person together"):
        cut_pools(make_records(subjects=subjects), PoolSizes(40, 0, 0, 40, 0, 40), 0)
