"""How odd it is that a deletion takes so many rows of one group."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from tfpdu.audit.concentration import concentrated, group_losses
from tfpdu.data import AttributeSpec, Records


def table(*columns, names=("gender", "age")):
    codes = np.array(columns, np.int8).T
    n = len(codes)
    return Records(
        images=np.zeros((n, 2, 2, 1), np.uint8),
        labels=np.arange(n, dtype=np.int32) % 2,
        attributes=codes,
        ids=np.array([f"r{k}" for k in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=tuple(AttributeSpec(name, ("a", "b")) for name in names[: codes.shape[1]]),
        label_names=("no", "yes"),
    )


def test_fishers_tea_tasting_lady():
    """4 of 8 cups, all 4 right: 1/70; 3 or more right: 17/70 (Fisher 1935, chapter 2)."""
    records = table([0] * 4 + [1] * 4)
    (right,) = group_losses(records, np.arange(8) < 4)
    assert (right.group, right.rows, right.gone, right.share) == ("a", 4, 4, 1.0)
    assert right.p_value == pytest.approx(1 / 70)
    one_wrong = {loss.group: loss for loss in group_losses(records, np.isin(np.arange(8), [0, 1, 2, 7]))}
    assert one_wrong["a"].p_value == pytest.approx(17 / 70)
    assert one_wrong["b"].p_value == pytest.approx(69 / 70)
    assert one_wrong["a"].p_holm == pytest.approx(34 / 70)  # two groups


def test_the_tail_is_that_of_counting_all_choices():
    records = table([0] * 30 + [1] * 70)
    gone = np.zeros(100, bool)
    gone[:12], gone[30:38] = True, True
    loss = {loss.group: loss for loss in group_losses(records, gone)}["a"]
    tail = sum(Fraction(comb(30, x) * comb(70, 20 - x), comb(100, 20)) for x in range(12, 21))
    assert loss.p_value == pytest.approx(float(tail), rel=1e-9)


def test_rows_of_unknown_value_are_in_no_group():
    records = table([-1] * 50 + [0] * 4 + [1] * 4)
    gone = np.zeros(58, bool)
    gone[:20], gone[50:54] = True, True
    assert [(loss.group, loss.p_value) for loss in group_losses(records, gone)] == [("a", pytest.approx(1 / 70))]


def test_a_group_by_two_attributes_is_found_that_neither_shows():
    gender, age = np.arange(200) % 2, np.arange(200) // 2 % 2
    records = table(gender, age)
    gone = np.zeros(200, bool)
    gone[np.flatnonzero((gender == 0) & (age == 1))[:10]] = True
    gone[np.flatnonzero((gender == 1) & (age == 0))[:10]] = True
    assert concentrated(records, gone) == []
    gone[np.flatnonzero((gender == 1) & (age == 0))] = False
    gone[np.flatnonzero((gender == 0) & (age == 1))[:20]] = True
    found = concentrated(records, gone)
    assert (found[0].attribute, found[0].group) == ("gender x age", "a, b")
    assert "gender x age a, b loses 20 of its 50 rows (40%)" in found[0].as_line()


def test_blind_requests_are_seldom_called_concentrated():
    """At level 1 % of 400 blind requests at most 4 are expected; 12 or more have probability under 1e-3."""
    generator = np.random.default_rng(0)
    records = table(generator.integers(0, 2, 300), generator.integers(0, 2, 300))
    called = sum(bool(concentrated(records, generator.permutation(300) < 40)) for _ in range(400))
    assert called < 12


def test_no_deletion_and_no_attribute_take_nothing():
    records = table([0] * 4 + [1] * 4)
    assert group_losses(records, np.zeros(8, bool)) == []
    assert group_losses(records.without_attributes(["gender"]), np.ones(8, bool)) == []
