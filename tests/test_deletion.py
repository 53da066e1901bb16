"""Deletion on request: rounds between iterations, exact, resumable, and in service mode without a trace."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.commands import command
from tests.loop_config import tiny_config
from tests.test_loop import contents, h5_hash, iterations
from tests.traces import traces
from tfpdu import loop
from tfpdu.cli.forget import tell_of_floor
from tfpdu.common import StopRequested, UserError, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.deletion import carry_out
from tfpdu.loop import run_pdu
from tfpdu.reporting import write_report
from tfpdu.requests import acknowledge, forecast_deletion
from tfpdu.settings import LoopSettings, Settings
from tfpdu.state import State
from tfpdu.steps import Step
from tfpdu.unlearning import Ledger, Selector, ShardedLearner
from tfpdu.verification import verify

OPTIONS = {"loop__iterations": 4, "ensemble__slices": 2, "ensemble__slice_order": "forget", "ensemble__base_share": 0.6}


def begun(workdir: Path, until: int, **options) -> dict:
    """A run that was stopped after an iteration."""
    config = tiny_config(**(OPTIONS | options))
    iterate = loop._Loop._iterate

    def stopping(self, t, table):
        iterate(self, t, table)
        if t == until:
            raise StopRequested("SIGTERM")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "_iterate", stopping)
        with pytest.raises(StopRequested):
            run_pdu(config, workdir)
    return config


def delete(config: dict, workdir: Path, ids: list[str], request_id: str | None = None) -> list[int]:
    settings, run = Settings.from_config(config), RunDirectory(workdir, config)
    acknowledge(settings, run, Selector(tuple(ids)), request_id)
    with run.lock():
        return carry_out(settings, run)


def present(workdir: Path, config: dict, t: int) -> list[str]:
    """Ids of the originals in the classifier after iteration t."""
    run = RunDirectory(workdir, config)
    return State.open(Settings.from_config(config), run).tables.originals(Step(t)).records.ids.tolist()


def assert_exact(workdir: Path, config: dict, step: Step, fresh: Path) -> None:
    """The weights that are there are those of learning the table from nothing, and no others are there."""
    state = State.open(Settings.from_config(config), RunDirectory(workdir, config))
    table = state.tables.now(step)
    learner = ShardedLearner(
        fresh, state.settings.ensemble, state.settings.views, classes=10, input_shape=(8, 8, 1), seed=0
    )
    learner.learn(table.records, table.shard, table.slice)
    ours, theirs = ({p.name: h5_hash(p) for p in (d / "shards").glob("*/*.h5")} for d in (workdir, fresh))
    assert ours == theirs


@pytest.fixture(scope="module")
def midway(tmp_path_factory) -> tuple[dict, Path]:
    workdir = tmp_path_factory.mktemp("runs") / "midway"
    return begun(workdir, 1), workdir


@pytest.fixture
def run(midway, tmp_path) -> tuple[dict, Path]:
    config, workdir = midway
    shutil.copytree(workdir, tmp_path / "run")
    return config, tmp_path / "run"


def test_deleted_rows_leave_the_classifier_exactly_and_are_replaced(run, tmp_path):
    config, workdir = run
    ids = present(workdir, config, 1)[:3]
    assert delete(config, workdir, ids) == [1]
    assert_exact(workdir, config, Step(1, 1), tmp_path / "fresh")
    assert not set(ids) & set(present(workdir, config, 1))
    samples = files.read_npz(workdir / "samples" / "0001-round-0001.npz")
    assert len(samples["ids"]) == 3
    receipt = files.read_json(workdir / "receipts" / "round-0001.json")
    assert (receipt["in_classifier"], receipt["pools"]) == (3, {"private": 3})
    assert sum(place["rows"] for place in receipt["where"]) == 3
    assert receipt["incomplete"][0].startswith("generator: it learned 3 of the rows")
    page = (workdir / "receipts" / "round-0001.html").read_text()
    assert "deleted" in page
    assert "demographic parity, parity" in page
    rows = [row for row in files.read_json(workdir / "fairness.json") if row["stage"] == "round 1"]
    assert {row["iteration"] for row in rows} == {1}
    assert [row for row in receipt["after"]["groups"] if row not in rows] == []
    assert "demographic_parity" in {row["metric"] for row in rows}


def test_a_run_goes_on_after_a_deletion_with_its_size_and_prior_kept(run, tmp_path):
    config, workdir = run
    ids = present(workdir, config, 1)[:5]
    delete(config, workdir, ids)
    run_pdu(config, workdir)
    events = iterations(workdir)
    assert [e["iteration"] for e in events] == [0, 1, 2, 3, 4]
    assert events[-1]["n_original"] == 0
    assert [e["n_original"] for e in events] == sorted((e["n_original"] for e in events), reverse=True)
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1
    assert events[-1]["bias_kl"] < 1e-6
    made = [row_id for path in (workdir / "samples").glob("0*.npz") for row_id in files.read_npz(path)["ids"].tolist()]
    assert len(set(made)) == len(made)  # a round and the iteration after it share a name space
    assert_exact(workdir, config, Step(4), tmp_path / "fresh")


def test_a_second_request_does_not_bring_back_the_rows_of_the_first(run, tmp_path):
    config, workdir = run
    first, second = present(workdir, config, 1)[:2], present(workdir, config, 1)[-2:]
    delete(config, workdir, first)
    delete(config, workdir, second)
    assert not {*first, *second} & set(present(workdir, config, 1))
    assert_exact(workdir, config, Step(1, 2), tmp_path / "fresh")


def test_a_deleted_picture_is_shown_no_more_though_nothing_is_learned_anew(run):
    config, workdir = run
    drawn = State.open(Settings.from_config(config), RunDirectory(workdir, config)).material.drawn
    path = workdir / "samples" / "showcase.npz"
    shown = {picture.tobytes() for picture in files.read_npz(path)["originals"].reshape(-1, 8, 8, 1)}
    gone = set(drawn.ids.tolist()) - set(present(workdir, config, 1))  # forgotten by the schedule
    row_id = next(i for i in drawn.ids.tolist() if i in gone and drawn.images[drawn.rows_of([i])].tobytes() in shown)
    delete(config, workdir, [row_id])
    assert RunDirectory(workdir, config).event("deletion", round=1) is None
    left = {picture.tobytes() for picture in files.read_npz(path)["originals"].reshape(-1, 8, 8, 1)}
    assert drawn.images[drawn.rows_of([row_id])].tobytes() not in left
    assert failing(config, workdir) == []


def test_the_same_request_twice_is_one(run):
    config, workdir = run
    ids = present(workdir, config, 1)[:2]
    assert delete(config, workdir, ids, "ticket") == [1]
    before = contents(workdir)
    assert delete(config, workdir, ids, "ticket") == []
    assert contents(workdir) == before


@pytest.mark.slow
def test_a_request_that_came_while_the_run_was_going_on_is_carried_out_before_its_next_iteration(run, tmp_path):
    config, workdir = run
    ids = present(workdir, config, 1)[:2]
    acknowledge(Settings.from_config(config), RunDirectory(workdir, config), Selector(tuple(ids)))
    assert len(Ledger(workdir).pending()) == 1
    run_pdu(config, workdir)
    assert not Ledger(workdir).pending()
    assert (workdir / "receipts" / "round-0001.json").exists()
    assert_exact(workdir, config, Step(4), tmp_path / "fresh")


@pytest.mark.slow
def test_what_a_killed_iteration_made_with_the_rows_is_dropped(midway, tmp_path):
    config, workdir = midway
    shutil.copytree(workdir, tmp_path / "run")

    def killed(self, t, table):
        self.state.learner.learn(table.records, table.shard, table.slice, table.weights)
        raise StopRequested("SIGTERM")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Loop, "_iterate", killed)
        with pytest.raises(StopRequested):
            run_pdu(config, tmp_path / "run")
    assert (tmp_path / "run" / "samples" / "0002.npz").exists()
    ids = present(tmp_path / "run", config, 2)[:4]
    delete(config, tmp_path / "run", ids)
    assert not (tmp_path / "run" / "samples" / "0002.npz").exists()
    assert_exact(tmp_path / "run", config, Step(1, 1), tmp_path / "fresh")
    run_pdu(config, tmp_path / "run")
    events = iterations(tmp_path / "run")
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1


@pytest.mark.slow
def test_what_judges_and_steers_learns_anew_when_an_auxiliary_row_goes(tmp_path):
    workdir = tmp_path / "run"
    config = begun(workdir, 0, generator__steer=("parity",), generator__steer_images=512)
    state = State.open(Settings.from_config(config), RunDirectory(workdir, config))
    ids = [state.material.pools.auxiliary.ids[0], *present(workdir, config, 0)[:2]]
    delete(config, workdir, ids)
    run_pdu(config, workdir)
    assert files.read_json(workdir / "receipts" / "round-0001.json")["pools"] == {"private": 2, "auxiliary": 1}
    assert_exact(workdir, config, Step(4), tmp_path / "fresh")


@pytest.mark.slow
def test_under_strict_lineage_the_generator_and_its_samples_go_with_the_rows(tmp_path):
    workdir = tmp_path / "run"
    config = begun(workdir, 0, generator__lineage="strict", generator__min_rows=10)
    ids = present(workdir, config, 0)[:4]
    before = json.loads((workdir / "generator" / "0000" / "generator.json").read_text())
    delete(config, workdir, ids)
    (left,) = [p.name for p in (workdir / "generator").iterdir()]
    card = json.loads((workdir / "generator" / left / "generator.json").read_text())
    assert card["id"] != before["id"]
    assert not set(ids) & set(card["row_ids"])
    assert files.read_json(workdir / "receipts" / "round-0001.json")["complete"]
    assert [p.name for p in (workdir / "samples").glob("0*.npz")] == ["0000-round-0001.npz"]
    assert_exact(workdir, config, Step(0, 1), tmp_path / "fresh")


@pytest.mark.slow
@pytest.mark.parametrize("stored", [False, True])
def test_in_service_mode_no_trace_of_a_deleted_row_is_left(tmp_path, digits_archive, stored):
    workdir = tmp_path / "run"
    own = {"data__name": "npz", "data__directory": digits_archive, "data__in_memory_gb": 0} if stored else {}
    config = begun(workdir, 1, deletion__mode="service", **own)
    assert (workdir / "cache").exists() == stored
    state = State.open(Settings.from_config(config), RunDirectory(workdir, config))
    material = state.material
    shown = files.read_npz(workdir / "samples" / "showcase.npz")["originals"][3, 0]
    drawn = material.drawn
    place = int(np.flatnonzero((drawn.images == shown).all(axis=(1, 2, 3)))[0])
    outside = [material.pools.auxiliary.ids[0], material.pools.test.ids[0]]
    ids = [*present(workdir, config, 1)[:2], *outside, drawn.ids[0], drawn.ids[place]]
    pictures = list(material.held().take(np.isin(material.held().ids, ids)).images)
    write_report(workdir)
    before = {path.name for path in traces(workdir, ids, pictures)}
    assert {"pools.json", "showcase.npz", "report.html"} <= before
    assert ("pixels.u8" in before) == stored
    delete(config, workdir, ids)
    run_pdu(config, workdir)
    assert not traces(workdir, ids, pictures)
    if stored:  # made anew from the archive, which still holds all
        shutil.rmtree(workdir / "cache")
        run_pdu(config, workdir)
        assert (workdir / "cache").exists()
        assert not traces(workdir, ids, pictures)


def test_ids_of_no_pool_are_refused_and_nothing_changes(run):
    config, workdir = run
    before = contents(workdir)
    settings, directory = Settings.from_config(config), RunDirectory(workdir, config)
    with pytest.raises(UserError, match="digits/99999"):
        acknowledge(settings, directory, Selector(("digits/99999",)))
    assert contents(workdir) == before


def test_a_forecast_names_shards_cost_and_gaps_and_changes_nothing(run):
    config, workdir = run
    before = contents(workdir)
    ids = present(workdir, config, 1)[:2]
    settings, directory = Settings.from_config(config), RunDirectory(workdir, config)
    text = forecast_deletion(settings, directory, Selector(tuple(ids)))
    assert "knows 2 of them, in shard" in text
    assert "not complete: generator" in text
    assert "published versions that know them: none" in text
    assert "beyond" not in text
    narrow = dataclasses.replace(settings, loop=LoopSettings(iterations=100, capacity=0.01))
    assert "beyond config.loop.capacity (1 rows at once)" in forecast_deletion(narrow, directory, Selector(tuple(ids)))
    assert contents(workdir) == before
    delete(config, workdir, ids)
    (event,) = directory.events("deletion")
    assert f"about {event['cost']:.0%} of a full training" in text


def test_a_request_that_falls_on_one_group_is_told_before_and_after_it(run, capsys):
    config, workdir = run
    settings, directory = Settings.from_config(config), RunDirectory(workdir, config)
    known = State.open(settings, directory).tables.originals(Step(1)).records
    odd = known.ids[known.column("parity") == known.spec("parity").values.index("odd")].tolist()
    words = f"parity odd loses {len(odd)} of its {len(odd)} rows (100%)"
    assert f"concentrated: {words}" in forecast_deletion(settings, directory, Selector(tuple(odd)))
    assert "concentrated" not in forecast_deletion(settings, directory, Selector(tuple(known.ids[:3])))
    floor = dataclasses.replace(settings, deletion=dataclasses.replace(settings.deletion, group_floor=0.99))
    acknowledge(floor, directory, Selector(tuple(odd)))
    with directory.lock():
        assert carry_out(floor, directory) == [1]
    assert words in capsys.readouterr().err
    receipt = files.read_json(workdir / "receipts" / "round-0001.json")
    assert receipt["concentrated"][0]["p_value"] < 1e-6
    assert {row["group"] for row in receipt["under_floor"]} == {"even", "odd"}  # of a net of two epochs
    page = (workdir / "receipts" / "round-0001.html").read_text()
    assert f"The deletion falls on one group: {words}" in page
    assert page.count("under the floor of") == 2
    with pytest.raises(SystemExit) as end:
        tell_of_floor(directory, [1], 0.99)
    assert end.value.code == 3
    assert "parity even 0." in capsys.readouterr().err


def test_the_command_deletes_and_prints_the_receipt(run):
    config, workdir = run
    (row_id,) = present(workdir, config, 1)[:1]
    done = script("forget.py", f"--workdir={workdir}", f"--ids={row_id}", "--request_id=ticket-1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(workdir / "receipts" / "round-0001.html")
    listed = script("requests.py", f"--workdir={workdir}")
    assert "ticket-1" in listed.stdout
    assert "done" in listed.stdout


def script(name: str, *flags: str) -> subprocess.CompletedProcess:
    return command(f"scripts/{name}", *flags)


# ---- tfpdu verify --------------------------------------------------------------------------------


def failing(config: dict, workdir: Path, replay: bool = False) -> list[str]:
    found = verify(Settings.from_config(config), RunDirectory(workdir, config), replay)
    return [finding.name for finding in found if not finding.holds]


@pytest.fixture(scope="module")
def deleted(midway, tmp_path_factory) -> tuple[dict, Path, Path]:
    """A run with a deletion round, and what it was before."""
    config, before = midway
    workdir = tmp_path_factory.mktemp("runs") / "deleted"
    shutil.copytree(before, workdir)
    delete(config, workdir, present(workdir, config, 1)[:2])
    return config, workdir, before


@pytest.fixture
def copy(deleted, tmp_path) -> tuple[dict, Path, Path]:
    config, workdir, before = deleted
    shutil.copytree(workdir, tmp_path / "run")
    return config, tmp_path / "run", before


def test_a_run_with_a_deletion_verifies_and_replays(deleted):
    config, workdir, before = deleted
    assert failing(config, workdir, replay=True) == []
    assert failing(config, before, replay=True) == []


def test_weights_from_before_the_deletion_are_found(copy):
    config, workdir, before = copy
    name = next(p for p in before.glob("shards/*/*.weights.h5") if not (workdir / p.relative_to(before)).exists())
    shutil.copy(name, workdir / name.relative_to(before))
    assert failing(config, workdir) == ["weights"]


def test_changed_weights_are_found_by_hash_and_by_replay(copy):
    config, workdir, _ = copy
    path = max(workdir.glob("shards/*/*.weights.h5"))
    data = bytearray(path.read_bytes())
    data[-9] ^= 1  # a bit of a weight
    path.write_bytes(data)
    assert failing(config, workdir) == ["weights"]
    assert failing(config, workdir, replay=True) == ["weights", "replay"]


def test_an_edited_ledger_and_an_edited_receipt_are_found(copy):
    config, workdir, _ = copy
    receipt = workdir / "receipts" / "round-0001.json"
    receipt.write_text(receipt.read_text().replace('"complete": false', '"complete": true'))
    assert failing(config, workdir) == ["receipts"]
    ledger = workdir / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("round done", "round dome"))
    assert failing(config, workdir) == ["record"]


def test_a_picture_that_was_deleted_is_found_in_a_file(copy):
    config, workdir, before = copy
    drawn = State.open(Settings.from_config(config), RunDirectory(before, config)).material.drawn
    gone = set(present(before, config, 1)) - set(present(workdir, config, 1))
    picture = drawn.images[drawn.ids == gone.pop()]
    shown = files.read_npz(workdir / "samples" / "showcase.npz")
    shown["originals"][0, 0] = picture[0]
    files.write_npz(workdir / "samples" / "showcase.npz", **shown)
    assert failing(config, workdir) == ["pictures"]


def test_the_command_verifies(deleted):
    _, workdir, _ = deleted
    done = script("verify.py", f"--workdir={workdir}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(line.startswith("ok") for line in done.stdout.splitlines())
