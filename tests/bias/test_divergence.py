"""Definition 2 by its known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpdu.bias import kl_divergence, smoothed, total_bias
from tfpdu.common import UserError


@pytest.mark.parametrize(
    ("counts", "kl", "total"),
    [([2959, 2041], 0.017145103, 1.46977e-4), ([3200, 800], 0.223143551, 0.024896522)],
)
def test_paper_counts_against_half_and_half(counts, kl, total):
    P = np.array(counts) / sum(counts)
    assert kl_divergence([0.5, 0.5], P) == pytest.approx(kl, abs=5e-10)
    assert total_bias([kl_divergence([0.5, 0.5], P)]) == pytest.approx(total, rel=1e-5)
    assert kl_divergence([0.5, 0.5], P) / math.log(2) == pytest.approx(kl / math.log(2), abs=1e-9)


def test_laplace_smoothing_by_hand():
    P = smoothed([4, 1, 0], 1)
    assert P.tolist() == [0.625, 0.25, 0.125]
    assert kl_divergence([1 / 3] * 3, P) == pytest.approx(0.2133008887, abs=1e-10)


def test_value_that_never_occurs_makes_the_divergence_infinite():
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == math.inf
    assert kl_divergence([1.0, 0.0], [0.5, 0.5]) == pytest.approx(math.log(2))
    assert total_bias([math.inf]) == math.inf


def test_total_is_half_the_sum_of_squares():
    assert total_bias([0.1, 0.2]) == pytest.approx(0.025)
    assert total_bias([]) == 0


def test_joint_is_compared_cell_by_cell():
    D, P = np.full((2, 2), 0.25), np.array([[0.5, 0.0], [0.25, 0.25]])
    assert kl_divergence(D, D) == 0
    assert kl_divergence(D, P) == math.inf


@pytest.mark.parametrize(
    ("prior", "posterior", "message"),
    [
        ([0.5, 0.5], [1.0], "shape"),
        ([0.5, 0.4], [0.5, 0.5], "prior: the probabilities sum to 0.9"),
        ([0.5, 0.5], [0.5, math.nan], "posterior"),
        ([-0.5, 1.5], [0.5, 0.5], "prior"),
    ],
)
def test_what_is_no_distribution_is_refused(prior, posterior, message):
    with pytest.raises(UserError, match=message):
        kl_divergence(prior, posterior)


def test_no_rows_are_no_distribution():
    with pytest.raises(UserError, match="no rows"):
        smoothed([0, 0])


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=6).flatmap(lambda c: st.tuples(st.just(c), st.permutations(c)))
)
def test_divergence_is_never_negative_and_zero_only_for_equals(pair):
    D, P = (np.array(counts) / sum(counts) for counts in pair)
    kl = kl_divergence(D, P)
    assert kl >= 0
    assert (kl < 1e-15) == (pair[0] == list(pair[1]))
