"""The plan of bases: costs by hand, no base holds a row that leaves while it is used, no plan is cheaper."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.unlearning.plan import NEVER, BasePlan, plan_bases

CIFAR = (6148, [500] * 10)  # the paper's experiment: 5,000 originals and 1,148 added rows, ten steps


def test_a_base_that_may_hold_anything_is_made_once_and_each_step_costs_the_last_slice_alone():
    plan = plan_bases(*CIFAR, last_cost=1 / 3, floor=0.0)
    assert plan.rebuilds == (0,)
    assert plan.shares[0] == pytest.approx(1148 / 6148)  # only the synthetic rows of step 0 stay to the end
    np.testing.assert_allclose(plan.costs[1:], 1 / 3)
    assert plan.total_cost == pytest.approx(1 / 3)


def test_a_base_that_must_hold_everything_is_made_at_every_step():
    plan = plan_bases(*CIFAR, last_cost=1 / 3, floor=1.0)
    assert plan.rebuilds == tuple(range(11))
    np.testing.assert_allclose(plan.costs, 4 / 3)


def test_costs_by_hand():
    # 10 rows, 4 originals, one leaves a step. With two bases of two and three steps:
    # made at 0, used at 0 and 1: without the row that leaves at 1: 9 of 10
    # made at 2, used at 2, 3, 4: without those that leave at 3 and 4: 8 of 10
    plan = plan_bases(10, [1, 1, 1, 1], last_cost=0.5, floor=0.8)
    assert plan.rebuilds == (0, 2)
    assert plan.shares == (0.9, 0.8)
    assert plan.costs == (1.4, 0.5, 1.3, 0.5, 0.5)
    assert plan.total_cost == pytest.approx(2.8 / 4)


def test_without_lasting_synthetic_rows_a_base_holds_originals_alone():
    plan = plan_bases(10, [1, 1, 1, 1], last_cost=0.5, floor=0.0, keeps_synthetic=False)
    assert plan.shares == (0.0,)
    made = np.array([0, 0, -1, -1])
    assert plan.slices(0, np.array([0, 0, 4, NEVER]), made).tolist() == [1, 1, 1, 0]


def test_slices_by_hand():
    plan = BasePlan(rebuilds=(0, 2), shares=(0.9, 0.8), costs=(1.4, 0.5, 1.3, 0.5, 0.5))
    leaves = np.array([1, 2, 3, NEVER, 0, 0, 0])
    made = np.array([-1, -1, -1, -1, 0, 1, 2])
    assert plan.slices(1, leaves, made).tolist() == [1, 0, 0, 0, 0, 1, 1]
    assert plan.slices(2, leaves, made).tolist() == [1, 1, 1, 0, 0, 0, 0]


leavings = st.lists(st.integers(0, 6), min_size=1, max_size=7)


@given(leavings, st.integers(1, 20), st.floats(0.1, 0.9), st.floats(0, 1), st.booleans())
@settings(max_examples=150, deadline=None)
def test_rows_of_a_base_stay_as_long_as_it_is_used(leaving, synthetic, last_cost, floor, keeps):
    n0, steps = sum(leaving), len(leaving)
    plan = plan_bases(n0 + synthetic, leaving, last_cost, floor, keeps)
    leaves = np.concatenate([np.repeat(np.arange(1, steps + 1), leaving), np.zeros(synthetic + n0, int)])
    born = np.concatenate([np.full(n0, -1), np.zeros(synthetic, int), np.repeat(np.arange(1, steps + 1), leaving)])
    base_before: set[int] = set()
    for t in range(steps + 1):
        there = np.where(born < 0, leaves > t, born <= t if keeps else born == t)
        base = set(np.flatnonzero(there & (plan.slices(t, leaves, born) == 0)).tolist())
        if t not in plan.rebuilds:
            assert base == base_before  # so its checkpoint is used again
        elif keeps:  # the share that was promised is the share that is held
            assert len(base) == pytest.approx(plan.shares[plan.rebuilds.index(t)] * (n0 + synthetic))
        base_before = base


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 10), st.floats(0.1, 0.9), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_no_other_plan_is_cheaper(leaving, synthetic, last_cost, floor):
    rows, steps = sum(leaving) + synthetic, len(leaving)
    gone = np.concatenate([[0], np.cumsum(leaving)])

    def cost(rebuilds):
        total = 0.0
        for b, h in itertools.pairwise((*rebuilds, steps + 1)):
            share = (rows - (gone[h - 1] - gone[b])) / rows
            if share < floor and h > b + 1:
                return np.inf
            total += share
        return total

    every = itertools.chain.from_iterable(itertools.combinations(range(1, steps + 1), k) for k in range(steps + 1))
    best = min(cost((0, *rest)) for rest in every)
    plan = plan_bases(rows, leaving, last_cost, floor)
    assert sum(plan.costs) == pytest.approx(best + (steps + 1) * last_cost)


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"last_cost": 0.0}, {"floor": 1.5}])
def test_numbers_out_of_range_are_named(wrong):
    arguments = {"rows": 10, "leaving": [1], "last_cost": 0.5, "floor": 0.5} | wrong
    with pytest.raises(UserError, match=next(iter(wrong))):
        plan_bases(**arguments)
