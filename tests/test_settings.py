"""The settings that a configuration gives."""

import pytest

from tests.loop_config import tiny_config
from tfpdu.common import UserError
from tfpdu.settings import Settings


def test_the_judge_is_one_model_however_many_parts_the_ensemble_has():
    config = tiny_config(ensemble__slices=4, ensemble__shards=3, ensemble__epochs=10, judge__epochs=2)
    judge = Settings.from_config(config).judge
    assert (judge.shards, judge.slices, judge.epochs, judge.width) == (1, 1, 2, config["ensemble"]["width"])


def test_a_setting_that_is_none_is_named():
    config = tiny_config()
    config["judge"]["epoch"] = 3
    with pytest.raises(UserError, match=r"config\.judge: .*'epoch'"):
        Settings.from_config(config)
