"""Intervals from counts alone; `tests/audit/test_statistics.py` compares them with scipy and published numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.common.intervals import auc_interval, clopper_pearson, hanley_mcneil_se


@given(st.floats(0.01, 0.99), st.integers(2, 5000))
@settings(max_examples=60, deadline=None)
def test_the_ends_of_an_auc_interval_are_one_surprise_away(value, n):
    """With equal numbers on both sides the error at an end t is Hanley and McNeil's."""
    low, high = auc_interval(value, n, n)
    assert 0 <= low < value < high <= 1
    for end in (low, high):
        assert abs(value - end) == pytest.approx(1.959963985 * hanley_mcneil_se(end, n, n), rel=1e-4, abs=1e-6)


@given(st.floats(0, 1), st.integers(1, 500), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_swapping_the_sides_mirrors_the_interval(value, n, m):
    low, high = auc_interval(value, n, m)
    assert auc_interval(1 - value, m, n) == (pytest.approx(1 - high, abs=1e-9), pytest.approx(1 - low, abs=1e-9))


def test_a_perfect_area_is_no_certainty():
    low, high = auc_interval(1.0, 50, 50)
    assert 0.8 < low < high == 1
    assert auc_interval(1.0, 5, 5)[0] < low


def test_more_confidence_is_wider():
    for interval in (lambda c: auc_interval(0.7, 50, 80, c), lambda c: clopper_pearson(30, 50, c)):
        ends = np.array([interval(c) for c in (0.5, 0.9, 0.99)])
        assert (np.diff(ends[:, 0]) < 0).all()
        assert (np.diff(ends[:, 1]) > 0).all()
        with pytest.raises(UserError, match="confidence: expected a number between 0 and 1, got 1"):
            interval(1)
