import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.data import DrawSettings, draw
from tfpdu.data.draws import even_quotas


def test_a_smaller_plain_draw_is_the_beginning_of_a_larger_one(make_records):
    records = make_records()
    small, large = draw(records, DrawSettings(20), 3), draw(records, DrawSettings(60), 3)
    assert small.ids.tolist() == large.ids[:20].tolist()


def test_a_draw_depends_on_ids_and_seed_and_not_on_the_order_of_rows(make_records):
    records = make_records()
    shuffled = records.take(np.random.default_rng(0).permutation(120))
    assert draw(records, DrawSettings(30), 3).ids.tolist() == draw(shuffled, DrawSettings(30), 3).ids.tolist()
    assert draw(records, DrawSettings(30), 3).ids.tolist() != draw(records, DrawSettings(30), 4).ids.tolist()


def test_a_row_that_was_removed_leaves_the_others_in_their_order(make_records):
    records = make_records()
    drawn = draw(records, DrawSettings(30), 0).ids.tolist()
    without = draw(records.without([drawn[4]]), DrawSettings(29), 0).ids.tolist()
    assert without == drawn[:4] + drawn[5:]


def test_a_biased_draw_has_its_shares_and_even_classes(make_records):
    settings_ = DrawSettings(30, shares={"colour": {"black": 0.2, "orange": 0.8}})
    drawn = draw(make_records(), settings_, 0)
    codes = drawn.column("colour")
    assert np.bincount(codes).tolist() == [6, 24]
    assert np.bincount(drawn.labels[codes == 0]).tolist() == [2, 2, 2]
    assert np.bincount(drawn.labels[codes == 1]).tolist() == [8, 8, 8]
    assert draw(make_records(), settings_, 0).ids.tolist() == drawn.ids.tolist()


def test_a_draw_by_counts_has_them_and_classes_even_within_one(make_records):
    drawn = draw(make_records(), DrawSettings(24, counts={"colour": {"black": 7, "orange": 17}}), 0)
    codes = drawn.column("colour")
    assert np.bincount(codes).tolist() == [7, 17]
    for code in (0, 1):
        assert np.ptp(np.bincount(drawn.labels[codes == code], minlength=3)) <= 1


def test_shares_are_rounded_so_that_all_rows_are_drawn(make_records):
    drawn = draw(make_records(), DrawSettings(20, shares={"label": {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}}), 0)
    assert sorted(np.bincount(drawn.labels).tolist()) == [6, 7, 7]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (DrawSettings(121), r"121 wanted, the private pool has 120"),
        (DrawSettings(100, shares={"colour": {"black": 0.1, "orange": 0.9}}), "90 rows with colour=orange wanted"),
        (DrawSettings(10, shares={"colour": {"black": 0.5, "white": 0.5}}), "no value 'white'"),
        (DrawSettings(10, shares={"fur": {"black": 1.0}}), "unknown attribute 'fur'"),
    ],
)
def test_a_draw_that_the_pool_cannot_give_is_refused_with_its_numbers(make_records, settings_, message):
    with pytest.raises(UserError, match=message):
        draw(make_records(), settings_, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "rows"),
        ({"rows": 2.5}, "rows"),
        ({"rows": 10, "shares": {"colour": {"black": 0.5, "orange": 0.6}}}, "sum to 1.1"),
        ({"rows": 10, "counts": {"colour": {"black": 5, "orange": 6}}}, "sum to 11, rows is 10"),
        ({"rows": 10, "counts": {"colour": {"black": -1, "orange": 11}}}, "whole numbers"),
        ({"rows": 10, "counts": {"a": {"x": 10}}, "shares": {"b": {"y": 1.0}}}, "one attribute"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        DrawSettings(**arguments)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.data(), st.integers(0, 9))
def test_quotas_are_as_even_as_what_is_there_allows(available, data, seed):
    total = data.draw(st.integers(0, sum(available)))
    quotas = even_quotas(np.array(available), total, seed)
    assert quotas.sum() == total
    assert np.all(quotas <= available)
    free = quotas < available  # a class that could give more gives no less than any other, within one row
    if free.any():
        assert quotas.max() <= quotas[free].min() + 1
    if total:
        assert np.all(even_quotas(np.array(available), total - 1, seed) <= quotas)
