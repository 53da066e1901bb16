"""Settings are checked once, and slices cost what plain training costs."""

import itertools

import pytest

from tests.ensemble import tiny
from tfpdu.common import UserError


@pytest.mark.parametrize("slices", [1, 2, 5, 10])
def test_slices_cost_as_many_row_epochs_as_one(slices):
    settings = tiny.settings(epochs=110, slices=slices)
    ends = [0, *settings.slice_epochs()]
    cost = sum((r + 1) / slices * (ends[r + 1] - ends[r]) for r in range(slices))
    assert cost == pytest.approx(110, rel=0.01)
    assert min(b - a for a, b in itertools.pairwise(ends)) >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": 0}, "shards: expected a number above 0, got 0"),
        ({"slices": 0}, "slices: expected a number above 0, got 0"),
        ({"slices": 4, "epochs": 2}, "slices: expected a number from 1 to 3, got 4"),
        ({"batch": 1}, "batch: expected a number from 4"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number above 0, got nan"),
        ({"momentum": 1.0}, "momentum: expected a number from 0 to 0.999, got 1.0"),
        ({"weight_decay": -1.0}, "weight_decay: expected a number of at least 0"),
        ({"aggregate": "mean_probabilities"}, "did you mean 'mean_probability'"),
        ({"stem": "image"}, "stem: unknown 'image'"),
        ({"threads": 0}, "threads: expected a number above 0"),
        ({"executor": "rai"}, "executor: unknown 'rai', did you mean 'ray'"),
        ({"address": "auto"}, "address=auto: expected executor=ray with it, got executor=serial"),
    ],
)
def test_a_wrong_value_is_named(change, message):
    with pytest.raises(UserError, match=message):
        tiny.settings(**change)
