"""Costs of unlearning: SISA's published formulas, real trainings, and Monte Carlo over drawn rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ensemble import tiny
from tfpdu.common import UserError
from tfpdu.data import concatenate
from tfpdu.ensemble import assign_shards
from tfpdu.unlearning import ShardedLearner
from tfpdu.unlearning.cost import batch_cost, retraining_cost, sequential_cost, sisa_stages, slicing_cost

# ---- known answers (Bourtoule et al. 2021, worked out) ---------------------------------------------


@pytest.mark.parametrize(
    ("rows", "shards", "requests", "sequential", "batch"),
    [(50_000, 20, 8, 19990.6, 16820.98), (1_000, 5, 10, 1981.0, 882.63)],
)
def test_expected_costs_of_sharding(rows, shards, requests, sequential, batch):
    assert sequential_cost(rows, shards, requests) == pytest.approx(sequential, abs=0.05)
    assert batch_cost(rows, shards, requests) == pytest.approx(batch, abs=0.01)


@pytest.mark.parametrize(("slices", "cost"), [(1, 1), (2, 0.8333), (5, 0.7333), (10, 0.7), (50, 0.6733)])
def test_expected_cost_of_one_row_in_a_sliced_shard(slices, cost):
    assert slicing_cost(slices) == pytest.approx(cost, abs=1e-4)
    assert slicing_cost(slices) == pytest.approx(2 / 3 + 1 / (3 * slices))


@pytest.mark.parametrize(("requests", "cost"), [(1, 0.7), (2, 0.85), (5, 0.958), (20, 0.997)])
def test_expected_cost_of_several_rows_in_a_sliced_shard(requests, cost):
    assert slicing_cost(10, requests) == pytest.approx(cost, abs=5e-4)


def test_many_shards_make_a_single_request_as_many_times_cheaper():
    rows = 10**6
    for shards in (1, 4, 20):
        assert rows / batch_cost(rows, shards, 1) == pytest.approx(shards, rel=1e-4)


# ---- properties ------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 50))
def test_slicing_costs_what_its_first_affected_stage_and_the_later_ones_cost(slices, requests):
    stages = sisa_stages(slices)
    assert sum(share * passes for share, passes in stages) == pytest.approx(1)
    expected = 0.0
    for r in range(1, slices + 1):
        probability = ((slices - r + 1) / slices) ** requests - ((slices - r) / slices) ** requests
        expected += probability * sum(share * passes for share, passes in stages[r - 1 :])
    assert slicing_cost(slices, requests) == pytest.approx(expected)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
def test_a_batch_over_sliced_shards_lies_between_nothing_and_learning_all_that_is_left(requests, shards, slices):
    rows = 5000
    cost = batch_cost(rows, shards, requests, sisa_stages(slices))
    assert 0 < cost <= rows - requests + 1e-6
    assert cost <= batch_cost(rows, shards, requests) + 1e-6


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: slicing_cost(0), "slices"),
        (lambda: slicing_cost(3, 0), "requests"),
        (lambda: batch_cost(10, 11, 1), "shards"),
        (lambda: sequential_cost(10, 2, 11), "requests"),
    ],
)
def test_numbers_out_of_range_are_named(call, name):
    with pytest.raises(UserError, match=name):
        call()


# ---- the exact cost --------------------------------------------------------------------------------

TABLE = tiny.records(33)


def test_a_learned_table_costs_what_was_foretold_as_rows_leave_and_come(tmp_path):
    ensemble = tiny.settings(shards=3, slices=3, epochs=2)
    table = concatenate([TABLE, tiny.records(2, seed=5, prefix="new")])
    home = assign_shards(TABLE, 3, 3, 0)
    shard, slice_ = np.append(home[0], [0, 2]), np.append(home[1], [2, 0])
    learner = _learner(tmp_path, ensemble)
    before = np.setdiff1d(np.arange(33), np.flatnonzero((shard == 2) & (slice_ == 2))[:1])  # a row of a last slice
    costs = [_costs(learner, table, shard, slice_, np.arange(33), before)]
    for after in (
        np.setdiff1d(before, np.flatnonzero((shard == 0) & (slice_ == 0))),  # all of a slice
        np.append(before[shard[before] != 1], [33, 34]),  # all of a shard, while that slice and two new rows come
    ):
        costs.append(_costs(learner, table, shard, slice_, before, after))
        before = after
    for learned, foretold in costs:
        assert learned == foretold > 0


def test_forget_ordered_slices_cost_what_was_foretold(tmp_path):
    ensemble = tiny.settings(slices=2, slice_order="forget", epochs=3)
    shard, slice_ = assign_shards(TABLE, 2, 1, 0)[0], (np.arange(33) < 9).astype(np.int32)
    learner = _learner(tmp_path, ensemble)
    learned, foretold = _costs(learner, TABLE, shard, slice_, np.arange(33), np.arange(5, 33))
    assert learned == foretold == 28  # the last slice's one epoch of all rows that are left


def _learner(directory, ensemble):
    return ShardedLearner(directory, ensemble, tiny.VIEWS, classes=tiny.CLASSES, input_shape=tiny.SHAPE, seed=0)


def _costs(learner, table, shard, slice_, before, after):
    """Rows times epochs of learning rows `after` once rows `before` were learned: of a real training, and foretold."""
    learner.learn(table.take(before), shard[before], slice_[before])
    changed = np.setxor1d(before, after)
    foretold = retraining_cost(learner.settings, shard[after], slice_[after], shard[changed], slice_[changed])
    return learner.learn(table.take(after), shard[after], slice_[after]).row_epochs, foretold


def test_nothing_that_changes_costs_nothing():
    none = np.zeros(0, np.int32)
    assert retraining_cost(tiny.settings(slices=3, epochs=4), *assign_shards(TABLE, 2, 3, 0), none, none) == 0


# ---- Monte Carlo -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("slices", "requests"), [(1, 1), (1, 10), (4, 1), (4, 10)])
def test_the_mean_exact_cost_of_drawn_rows_is_the_theory(slices, requests):
    """500 draws of rows; within 4 standard errors (by chance beyond: 6e-5) and the 1 % of drawing with repetition."""
    rows, epochs = 1000, 10
    ensemble = tiny.settings(shards=5, slices=slices, epochs=epochs)
    assert [2 * epochs * r / (slices + 1) for r in range(1, slices + 1)] == ensemble.slice_epochs()
    random = np.random.default_rng(0)
    shard, slice_ = np.arange(rows) % 5, np.arange(rows) // 5 % slices
    costs = np.array([_drawn(ensemble, shard, slice_, requests, random) for _ in range(500)]) / epochs
    theory = batch_cost(rows, 5, requests, sisa_stages(slices))
    assert abs(costs.mean() - theory) < 4 * costs.std() / math.sqrt(500) + 0.01 * theory


def _drawn(ensemble, shard, slice_, requests, random):
    gone = random.choice(len(shard), requests, replace=False)
    left = np.setdiff1d(np.arange(len(shard)), gone)
    return retraining_cost(ensemble, shard[left], slice_[left], shard[gone], slice_[gone])


def test_the_mean_exact_cost_of_one_request_after_the_other_is_the_theory():
    """100 sequences of 10 rows out of 1,000 in 5 shards; the formula's 1981.0 within 4 standard errors."""
    ensemble, random, totals = tiny.settings(shards=5, epochs=1), np.random.default_rng(1), []
    for _ in range(100):
        shard, total = np.arange(1000) % 5, 0
        for _ in range(10):
            gone, left = np.split(random.permutation(len(shard)), [1])
            zero = np.zeros(len(shard), np.int32)
            total += retraining_cost(ensemble, shard[left], zero[left], shard[gone], zero[gone])
            shard = shard[left]
        totals.append(total)
    error = np.std(totals) / math.sqrt(len(totals))
    assert abs(np.mean(totals) - sequential_cost(1000, 5, 10)) < 4 * error + 1e-9
