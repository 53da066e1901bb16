import math

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.common.validation import did_you_mean, distribution, in_range, non_negative, one_of, positive


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: positive(epochs=0), "epochs: expected a number above 0, got 0"),
        (lambda: positive(rate=math.nan), "rate: expected a number above 0, got nan"),
        (lambda: positive(rate=math.inf), "rate: expected a number above 0, got inf"),
        (lambda: positive(epochs="ten"), "epochs: expected a number above 0, got 'ten'"),
        (lambda: positive(epochs=None), "epochs: expected a number above 0, got None"),
        (lambda: non_negative(shift=-1), "shift: expected a number of at least 0, got -1"),
        (lambda: in_range(0, 1, share=1.5), "share: expected a number from 0 to 1, got 1.5"),
        (lambda: in_range(0, 1, share=[0.5]), "share: expected a number from 0 to 1, got [0.5]"),
        (lambda: one_of(["exact", "gradient"], solver="exat"),
         "solver: unknown 'exat', did you mean 'exact'?; known: exact, gradient"),
        (lambda: one_of(["b", "a"], x="zzz"), "x: unknown 'zzz'; known: a, b"),
        (lambda: distribution(prior=[0.5, 0.6]), "prior: the probabilities sum to 1.1, expected 1"),
        (lambda: distribution(prior=[1.5, -0.5]), "prior: expected probabilities of at least 0, got [1.5, -0.5]"),
        (lambda: distribution(prior=[]), "prior: expected probabilities of at least 0, got []"),
        (lambda: distribution(prior=[math.nan, 1]), "prior: expected probabilities of at least 0, got [nan, 1.0]"),
        (lambda: distribution(prior="half"), "prior: expected a vector of probabilities, got 'half'"),
        (lambda: distribution(prior=[[0.5], [0.2, 0.3]]),
         "prior: expected a vector of probabilities, got [[0.5], [0.2, 0.3]]"),
    ],
)  # fmt: skip
def test_each_refusal_is_one_line_with_name_expectation_and_value(check, message):
    with pytest.raises(UserError) as error:
        check()
    assert str(error.value) == message


def test_what_is_right_passes():
    positive(a=1, b=1e-9, c=np.float32(0.5), d=np.int64(3))
    non_negative(a=0, b=0.0)
    in_range(0, 1, low=0, high=1)
    one_of({"a", "b"}, x="a", choices="b")  # any name can be checked
    distribution(prior=[0.2, 0.8], row=np.full(3, 1 / 3), rounded=[0.333333, 0.333333, 0.333333])


def test_only_a_near_name_is_proposed():
    assert did_you_mean("colour", ["color", "size"]) == ", did you mean 'color'?"
    assert did_you_mean("xyz", ["color", "size"]) == ""
