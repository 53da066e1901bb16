"""Least additions: the paper's counts, brute force, and what whole rows permit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.bias import Constraint, Prior, kl_divergence, least_additions
from tfpdu.bias.additions import Demand, Margin, allocate, demand_of, fill, meet
from tfpdu.bias.descent import descend, loss_and_gradient
from tfpdu.common import UserError

HALF = [0.5, 0.5]


def single(counts, prior):
    counts, prior = np.array(counts, float), np.array(prior, float)
    return Demand((Margin("x", np.arange(len(prior)), counts, prior),), counts, np.full(len(prior), True))


def two_margins(table, rows, cols):
    """A demand over a 2-d table of counts with a prior on its rows and one on its columns."""
    table = np.array(table, float)
    r, c = np.indices(table.shape).reshape(2, -1)
    margins = (Margin("r", r, table.sum(1), np.array(rows)), Margin("c", c, table.sum(0), np.array(cols)))
    return Demand(margins, table.ravel(), np.full(table.size, True))


@pytest.mark.parametrize(
    ("counts", "prior", "expected"),
    [
        ([2959, 2041], HALF, [0, 918]),
        ([800, 3200], HALF, [2400, 0]),
        ([5, 5], HALF, [0, 0]),
        ([0, 4], HALF, [4, 0]),
        ([6, 3, 3], [0.5, 0.25, 0.25], [0, 0, 0]),
        ([10, 0, 5], [0.4, 0.2, 0.4], [0, 5, 5]),
        ([1000, 10], [1 / 3, 2 / 3], [0, 1990]),
        ([3, 0], [1.0, 0.0], [0, 0]),
    ],
)
def test_known_answers(counts, prior, expected):
    assert least_additions(counts, prior).tolist() == expected


def test_value_that_should_not_be_there_cannot_be_mended_by_adding():
    with pytest.raises(UserError, match="value 1 has probability 0 and 3 rows"):
        least_additions([4, 3], [1.0, 0.0])


@pytest.mark.parametrize(
    ("counts", "prior"), [([1, 2, 3], HALF), ([-1, 2], HALF), ([1.5, 2], HALF), ([1, 2], [0.5, 0.4])]
)
def test_bad_input_is_refused(counts, prior):
    with pytest.raises(UserError):
        least_additions(counts, prior)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=5), st.data())
@settings(max_examples=150)
def test_additions_are_the_least_that_make_room_for_the_prior(counts, data):
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(counts), max_size=len(counts)))
    prior = np.array(weights) / sum(weights)
    added = least_additions(counts, prior)
    n, total = sum(counts), sum(counts) + added.sum()
    assert np.all(added >= 0)
    # m = max_v n P(v) / D(v) - n, rounded up: one row fewer, and some value already has more than its share.
    assert np.all(np.array(counts) <= prior * total + 1e-6)
    if added.sum():
        assert np.any(np.array(counts) > prior * (total - 1) + 1e-9)
    assert np.all(np.abs(np.array(counts) + added - prior * total) < len(counts))
    assert n + added.sum() == total


@given(st.lists(st.integers(0, 6), min_size=2, max_size=3), st.integers(0, 6), st.data())
@settings(max_examples=80)
def test_fill_is_optimal_among_all_ways_to_deal_the_rows(counts, m, data):
    weights = data.draw(st.lists(st.integers(1, 5), min_size=len(counts), max_size=len(counts)))
    prior = np.array(weights) / sum(weights)

    def bias(added):
        after = np.array(counts) + added
        return np.inf if after.sum() == 0 else kl_divergence(prior, after / after.sum())

    ways = [np.array(w) for w in itertools.product(range(m + 1), repeat=len(counts)) if sum(w) == m]
    best = min(bias(way) for way in ways)
    added = fill(np.array(counts, float), prior, m)
    assert added.sum() == m
    assert bias(added) <= best + 1e-12 or (np.isinf(best) and np.isinf(bias(added)))


def test_odd_counts_get_one_row_more_until_whole_rows_are_fair():
    assert meet(single([4, 3], [0.3, 0.7]), 1e-9).tolist() == [2, 11]  # 20 is the first size with 0.3 and 0.7 whole


def test_unattainable_threshold_names_the_attainable_one():
    with pytest.raises(UserError, match=r"falls to .* nats .*not under rho=1e-12; set rho above it"):
        meet(single([4, 3], [1 / np.pi, 1 - 1 / np.pi]), 1e-12)


def test_growth_beyond_the_limit_is_refused():
    with pytest.raises(UserError, match="takes 9980 more rows beside 20, over max_growth=10"):
        meet(single([10, 10], [0.001, 0.999]), 1e-6, max_growth=10)


def test_several_constraints_need_what_brute_force_needs():
    demand = two_margins([[5, 1], [2, 3]], HALF, HALF)
    added = meet(demand, 1e-9)

    def fair(a):
        return demand.bias(np.array(a)) < 1e-9

    least = next(m for m in range(20) if any(fair(a) for a in itertools.product(range(m + 1), repeat=4) if sum(a) == m))
    assert added.sum() == least
    assert fair(added)


def test_several_constraints_keep_the_association_where_they_leave_a_choice():
    demand = two_margins([[40, 10], [10, 40]], HALF, HALF)
    assert allocate(demand, 100).tolist() == [40, 10, 10, 40]


def test_contradicting_constraints_are_refused(table):
    records = table([0, 0, 1, 1], {("colour", ("black", "orange")): [0, 1, 0, 1]})
    joint = Constraint(("label", "colour"), np.full((2, 2), 0.25))
    prior = Prior((joint, Constraint(("label",), np.array([0.9, 0.1]))))
    with pytest.raises(UserError, match="no additions meet label x colour, label together"):
        meet(demand_of(records, prior), 1e-6)


def test_cells_without_rows_are_filled_only_if_told(table):
    records = table([0, 0, 0, 1], {("colour", ("black", "orange")): [0, 0, 0, 1]})
    marginals = Prior((Constraint(("label",), np.array(HALF)), Constraint(("colour",), np.array([0.25, 0.75]))))
    with pytest.raises(UserError, match="allow_empty_cells"):
        meet(demand_of(records, marginals), 1e-6)
    added = meet(demand_of(records, marginals, allow_empty_cells=True), 1e-6)
    assert added[1] > 0  # cats that are orange


@pytest.mark.parametrize(
    ("counts", "prior"), [([2959, 2041], HALF), ([3200, 800], HALF), ([900, 500, 100], [0.5, 0.3, 0.2])]
)
def test_gradient_path_agrees_with_the_exact_one(counts, prior):
    demand = single(counts, prior)
    exact, walked = meet(demand, 1e-6), descend(demand, 1e-6)
    assert demand.bias(walked) < 1e-6
    assert walked.sum() == pytest.approx(exact.sum(), rel=0.01)
    assert np.abs(walked - exact).max() <= 0.01 * exact.sum()


def test_gradient_path_agrees_for_two_constraints():
    demand = two_margins([[500, 300], [200, 100]], HALF, HALF)
    assert descend(demand, 1e-6).sum() == pytest.approx(meet(demand, 1e-6).sum(), rel=0.01)


def test_gradient_path_adds_nothing_to_a_fair_table():
    assert descend(single([5, 5], HALF), 1e-6).tolist() == [0, 0]


@pytest.mark.parametrize(
    "demand", [single([9, 4, 2], [0.2, 0.3, 0.5]), two_margins([[5, 1], [2, 3]], HALF, [0.3, 0.7])]
)
def test_gradient_is_the_finite_difference(demand):
    cells = np.arange(len(demand.joint))
    theta = np.linspace(-0.5, 0.7, len(cells))
    _, gradient = loss_and_gradient(demand, cells, theta, 8.0)
    for i in cells:
        step = np.zeros(len(cells))
        step[i] = 1e-5
        up, down = (loss_and_gradient(demand, cells, theta + sign * step, 8.0)[0] for sign in (1, -1))
        assert gradient[i] == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-12)


def test_step_against_the_gradient_lowers_the_loss_and_the_papers_plus_raises_it():
    demand, cells, theta = single([2959, 2041], HALF), np.arange(2), np.log([0.59, 0.41])
    loss, gradient = loss_and_gradient(demand, cells, theta, 500.0)
    step = 0.1 * gradient / np.linalg.norm(gradient)
    assert loss_and_gradient(demand, cells, theta - step, 500.0)[0] < loss
    assert loss_and_gradient(demand, cells, theta + step, 500.0)[0] > loss
