"""The settings that a configuration gives."""

import importlib
import subprocess
import sys

import pytest

from tests.loop_config import tiny_config
from tfpdu.common import UserError
from tfpdu.settings import LoopSettings, Settings


def test_the_judge_is_one_model_however_many_parts_the_ensemble_has():
    config = tiny_config(ensemble__slices=4, ensemble__shards=3, ensemble__epochs=10, judge__epochs=2)
    judge = Settings.from_config(config).judge
    assert (judge.shards, judge.slices, judge.epochs, judge.width) == (1, 1, 2, config["ensemble"]["width"])


def test_a_setting_that_is_none_is_named():
    config = tiny_config()
    config["judge"]["epoch"] = 3
    with pytest.raises(UserError, match=r"config\.judge: .*'epoch'"):
        Settings.from_config(config)


def test_a_run_may_end_before_its_last_step():
    assert Settings.from_config(tiny_config()).loop.last == 2
    assert Settings.from_config(tiny_config(loop__until=0)).loop.last == 0
    with pytest.raises(UserError, match=r"config\.loop\.until"):
        Settings.from_config(tiny_config(loop__until=3))


def test_a_generator_made_anew_at_each_step_needs_replenishing():
    with pytest.raises(UserError, match=r"config\.augment\.replenish=False"):
        Settings.from_config(tiny_config(generator__lineage="strict", augment__replenish=False))


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("cifar10", ["cpu", "imbalanced", "imbalanced:gpu", "plain:gpu", "transfer", "transfer:gpu", "public", "gpu"]),
        ("celeb_a", ["cpu", "gpu"]),
    ],
)
def test_every_preset_and_its_twin_is_a_valid_configuration(name, variants):
    module = importlib.import_module(f"tfpdu_configs.{name}")
    settings = [Settings.from_config(module.get_config(variant).to_dict()) for variant in variants]
    assert len({repr(one) for one in settings}) == len(variants)
    with pytest.raises(ValueError, match="unknown variant"):
        module.get_config("cpu:tpu")


def test_more_iterations_than_a_row_can_remember_are_refused():
    assert LoopSettings(iterations=125).iterations == 125
    with pytest.raises(UserError, match=r"config\.loop\.iterations"):
        LoopSettings(iterations=126)


def test_settings_runs_and_comparisons_are_read_without_tensorflow():
    code = (
        "import sys, tfpdu.settings, tfpdu.material, tfpdu.reporting.comparison, tfpdu.experiments;"
        "sys.exit(', '.join({'tensorflow', 'keras', 'jax'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
