import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.loop_config import tiny_config
from tfpdu import forecast
from tfpdu.cli.app import as_dict, load_preset
from tfpdu.common import files
from tfpdu.forecast import forecast_minutes, mean_cost
from tfpdu.settings import Settings

MEASURED = Path(__file__).parents[1] / "docs/results/forgetting.jsonl"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_forecast_of_forget_ordered_slices_is_what_was_measured(seed):
    lines = [line for line in files.read_json_lines(MEASURED) if (line["seed"], line["method"]) == (seed, "forget")]
    settings = Settings.from_config(as_dict(load_preset("cifar10:cpu")))
    assert settings.ensemble.slice_order == "forget"
    measured = np.array([line["cost"] for line in lines])
    assert mean_cost(settings, lines[0]["rows"], 5000, 11) == pytest.approx(measured.mean(), abs=0.01)
    assert mean_cost(settings, lines[0]["rows"], 5000, 1) == pytest.approx(measured[0], abs=0.01)


def test_whole_shards_are_trained_in_full():
    settings = Settings.from_config(as_dict(load_preset("cifar10:cpu")))
    whole = dataclasses.replace(settings.ensemble, slices=1, slice_order="even")
    assert mean_cost(dataclasses.replace(settings, ensemble=whole), 6148, 5000, 11) == 1


def test_what_was_measured_for_one_run_is_known_for_the_next(capsys, monkeypatch):
    known = {}
    for rates in ("_ensemble_rates", "_generator_rates"):
        monkeypatch.setattr(forecast, rates, lambda *_: (100.0, 200.0))

    def measured(**changes):
        assert forecast_minutes(tiny_config(**changes), known) > 0
        return capsys.readouterr().err.count("measuring this machine")

    assert measured() == 2  # the classifier and the generator
    assert measured(ensemble__shards=1, ensemble__epochs=3, loop__iterations=4) == 0
    assert measured(augment__method="oversample") == 0
    assert measured(ensemble__width=4) == 1
    assert measured(generator__embedding=16) == 1
