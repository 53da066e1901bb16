"""Deletion rounds where little is left, or nothing has to be learned anew, and runs that were stopped within a step."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.test_deletion import OPTIONS, begun, delete, failing, present
from tests.test_loop import iterations
from tfpdu import deletion
from tfpdu.common import StopRequested, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.deletion import carry_out
from tfpdu.loop import run_pdu
from tfpdu.requests import acknowledge
from tfpdu.settings import Settings
from tfpdu.state import State, standing
from tfpdu.steps import Step
from tfpdu.synthesis import Table
from tfpdu.unlearning import Selector
from tfpdu.verification import verify


def opened(config: dict, workdir: Path) -> State:
    return State.open(Settings.from_config(config), RunDirectory(workdir, config))


def verified(config: dict, workdir: Path) -> dict[str, str]:
    """What does not hold, and why."""
    found = verify(Settings.from_config(config), RunDirectory(workdir, config))
    return {finding.name: finding.words for finding in found if not finding.holds}


@pytest.fixture(scope="module")
def weighed(tmp_path_factory) -> tuple[dict, Path]:
    """A run of a plain method, stopped after iteration 1."""
    workdir = tmp_path_factory.mktemp("runs") / "weighed"
    return begun(workdir, 1, augment__method="reweigh"), workdir


@pytest.fixture
def plain(weighed, tmp_path) -> tuple[dict, Path]:
    config, workdir = weighed
    return config, Path(shutil.copytree(workdir, tmp_path / "run"))


def of_parity(config: dict, workdir: Path, value: int) -> list[str]:
    records = opened(config, workdir).tables.originals(Step(1)).records
    return records.ids[records.column("parity") == value].tolist()


def test_rows_that_a_plain_method_cannot_debias_are_learned_as_they_are(plain):
    config, workdir = plain
    delete(config, workdir, of_parity(config, workdir, 1))  # nothing is left to weigh up
    assert failing(config, workdir, replay=True) == []
    assert len(standing(Settings.from_config(config), RunDirectory(workdir, config)).table.records)
    assert delete(config, workdir, present(workdir, config, 1)[:2]) == [2]  # and the next request is carried out, too
    run_pdu(config, workdir)
    assert [e["iteration"] for e in iterations(workdir)] == [0, 1]
    (stopped,) = [e for e in files.read_json_lines(workdir / "metrics.jsonl") if e["event"] == "stopped"]
    assert stopped["iteration"] == 2
    assert verified(config, workdir) == {}


def test_a_round_may_leave_no_row(plain):
    config, workdir = plain
    delete(config, workdir, present(workdir, config, 1))
    assert failing(config, workdir, replay=True) == []
    assert not list((workdir / "shards").glob("*/*.weights.h5"))


@pytest.mark.slow
def test_too_few_rows_for_a_strict_generator_still_retire_the_one_that_saw_them(tmp_path):
    options = {"generator__lineage": "strict", "generator__min_rows": 60, "deletion__mode": "experiment"}
    config, workdir = begun(tmp_path / "run", 1, **options), tmp_path / "run"
    ids = present(workdir, config, 1)[:16]  # 59 are left
    delete(config, workdir, ids)
    assert verified(config, workdir) == {}
    assert not list((workdir / "generator").glob("*/generator.json"))
    assert [path.name for path in (workdir / "samples").glob("0*.npz")] == ["0001-round-0001.npz"]
    assert len(opened(config, workdir).tables.now(Step(1, 1)).records) == 59


def test_an_iteration_forgets_no_row_that_is_deleted_already(plain):
    config, workdir = plain
    state = opened(config, workdir)
    due = state.material.drawn.ids[state.material.leaves == 2].tolist()
    delete(config, workdir, due[:3])
    tables, asked = opened(config, workdir).tables, []

    class Made:
        def rows(self, step, originals, gone):
            asked.append(gone.tolist())
            return Table(originals.records.take(np.zeros(0, int)), *(np.zeros(0, np.int32),) * 2)

    tables._made = Made()
    tables.after(Step(2))
    assert asked == [due[3:]]


# ---- stopped within a step ---------------------------------------------------------------------------


def test_a_run_that_was_stopped_within_an_iteration_verifies(plain):
    config, workdir = plain
    state = opened(config, workdir)
    table = state.tables.after(Step(2))
    state.learner.learn(table.records, table.shard, table.slice, table.weights)
    assert verified(config, workdir) == {}


@pytest.mark.parametrize("where", ["_measure", "write_receipt"])
def test_a_round_that_was_stopped_halfway_verifies_and_is_finished_later(plain, monkeypatch, where):
    config, workdir = plain
    settings, run = Settings.from_config(config), RunDirectory(workdir, config)
    acknowledge(settings, run, Selector(tuple(present(workdir, config, 1)[:3])))

    def stop(*args, **kwargs):
        if where != "_measure" or kwargs.get("stage", args[-1]) != "iteration":  # that before it is over
            raise StopRequested("SIGTERM")
        return {}

    with monkeypatch.context() as patch, run.lock():
        patch.setattr(deletion._DeletionRound if where == "_measure" else deletion, where, stop)
        with pytest.raises(StopRequested):
            carry_out(settings, run)
    assert verified(config, workdir) == {}
    with run.lock():
        assert carry_out(settings, run) == [1]
    assert verified(config, workdir) == {}


# ---- priors that are estimated from rows ---------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reference", "eda"])
def test_a_prior_stays_what_it_was_when_rows_that_gave_it_are_erased(tmp_path, kind):
    options = {"augment__method": "reweigh", "deletion__mode": "service", "prior__kind": kind}
    config, workdir = begun(tmp_path / "run", 1, **(OPTIONS | options)), tmp_path / "run"
    state = opened(config, workdir)
    before = [c.probabilities.tolist() for c in state.prior.constraints]
    auxiliary = state.material.pools.auxiliary
    delete(
        config, workdir, auxiliary.ids[auxiliary.column("parity") == 0][:5].tolist() + present(workdir, config, 1)[:2]
    )
    assert [c.probabilities.tolist() for c in opened(config, workdir).prior.constraints] == before
    assert verified(config, workdir) == {}
