import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.debiasing.valuation import neighbour_values


def worth(chosen, features, labels, asked, label, k):
    """The share of the k nearest chosen rows with the asked row's class, out of k."""
    near = sorted(chosen, key=lambda i: (((features[i] - asked) ** 2).sum(), i))[:k]
    return sum(labels[i] == label for i in near) / k


def shapley(features, labels, asked, asked_labels, k):
    """By its definition, over all subsets."""
    n = len(features)
    values = np.zeros(n)
    for row, label in zip(asked, asked_labels, strict=True):
        for i in range(n):
            others = [j for j in range(n) if j != i]
            for size in range(n):
                weight = 1 / (n * math.comb(n - 1, size))
                for part in itertools.combinations(others, size):
                    gain = worth([*part, i], features, labels, row, label, k) - worth(
                        part, features, labels, row, label, k
                    )
                    values[i] += weight * gain
    return values / len(asked)


@settings(deadline=None, max_examples=15)
@given(n=st.integers(1, 5), k=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_values_are_shapley_s_by_definition(n, k, seed):
    rng = np.random.default_rng(seed)
    features, asked = rng.standard_normal((n, 2)), rng.standard_normal((2, 2))
    labels, asked_labels = rng.integers(0, 2, n), rng.integers(0, 2, 2)
    found = neighbour_values(features, labels, asked, asked_labels, k)
    np.testing.assert_allclose(found, shapley(features, labels, asked, asked_labels, k), atol=1e-12)


def test_nothing_to_ask_is_refused():
    with pytest.raises(UserError, match="0 asked"):
        neighbour_values(np.zeros((2, 1)), np.zeros(2, int), np.zeros((0, 1)), np.zeros(0, int))
