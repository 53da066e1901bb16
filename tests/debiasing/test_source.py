import dataclasses

import numpy as np
import pytest

from tests.debiasing.tables import config, material
from tests.loop_config import tiny_config
from tfpdu.common import UserError
from tfpdu.common.run_directory import RunDirectory
from tfpdu.debiasing import Source, Unavailable
from tfpdu.material import gather
from tfpdu.settings import Settings
from tfpdu.state import State
from tfpdu.steps import FIRST


def test_without_a_generator_it_says_what_to_give_and_what_to_measure_again(tmp_path):
    source = Source("", config(), material(), tmp_path)
    with pytest.raises(Unavailable, match="--generator"):
        source.debiased()
    assert source.outdated({"skipped": "no generator"})
    assert not source.outdated({"source": "runs/one"})  # nothing is named, so what is done stays
    other = Source("runs/two", config(), material(), tmp_path)
    assert other.outdated({"source": "runs/one"})
    assert other.outdated({"source": ""})  # copies, where there was no generator yet
    assert not other.outdated({"source": "runs/two"})
    assert not other.outdated({})  # a plain method


def test_a_directory_without_a_run_is_the_user_s_fault(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        Source(str(tmp_path / "nowhere"), config(), material(), tmp_path).debiased()


@pytest.mark.slow
def test_samples_are_those_of_the_run_and_replenish_what_was_deleted(tmp_path):
    whole = tiny_config()
    settings = Settings.from_config(whole)
    run = RunDirectory(tmp_path / "run", whole)
    with run.lock():
        table = State.open(settings, run).tables.after(FIRST).records
    rows = gather(settings)
    source = Source(str(tmp_path / "run"), whole, rows, tmp_path / "study")
    debiased = source.debiased()
    assert debiased.ids.tolist() == table.ids.tolist()
    assert np.array_equal(debiased.images, table.images)
    parity = debiased.column("parity")
    assert (parity == 0).sum() == (parity == 1).sum()
    assert source.sees_deleted  # lineage "keep"
    assert rows.prior is not None
    left = rows.drawn.take(np.arange(10, len(rows.drawn)))
    again = source.replenished(left, rows.prior, 10, 0)
    assert len(again) == len(rows.drawn)
    assert int((~again.is_original).sum()) == 10
    path = tmp_path / "run" / "samples" / "0000.npz"
    away = path.rename(tmp_path / "0000.npz")
    with pytest.raises(UserError, match="samples of its iteration 0 are not there"):
        Source(str(tmp_path / "run"), whole, rows, tmp_path / "study").debiased()
    away.rename(path)
    few = dataclasses.replace(rows, drawn=left)
    with pytest.raises(UserError, match="other S"):
        Source(str(tmp_path / "run"), whole, few, tmp_path / "study").debiased()
    here = Source("train", whole, rows, tmp_path / "study")
    (tmp_path / "study").mkdir()
    assert np.array_equal(here.debiased().images, table.images)  # the same config makes the same rows
