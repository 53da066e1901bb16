import json
import subprocess
import sys

import pytest

from tfpdu.common import UserError
from tfpdu.common.run_directory import RunDirectory

CONFIG = {"seed": 0, "data": {"name": "digits", "attributes": ("parity",)}}


def test_a_second_run_of_the_same_configuration_is_let_in(tmp_path):
    RunDirectory(tmp_path / "run", CONFIG)
    RunDirectory(tmp_path / "run", CONFIG)


def test_another_configuration_is_refused_and_the_difference_named(tmp_path):
    RunDirectory(tmp_path, CONFIG)
    with pytest.raises(UserError, match=r"config\.data\.name='digits'.*'cifar10'"):
        RunDirectory(tmp_path, {"seed": 0, "data": {"name": "cifar10", "attributes": ("parity",)}})


def test_a_key_that_changes_no_result_may_differ_and_others_still_may_not(tmp_path):
    before = {"seed": 0, "ensemble": {"threads": 2}}  # as a run that was made before the key was there
    now = {"seed": 0, "ensemble": {"threads": 2, "executor": "ray"}}
    RunDirectory(tmp_path, before)
    RunDirectory(tmp_path, now, free=["config.ensemble.executor"])
    with pytest.raises(UserError, match=r"config\.ensemble\.executor=None, now"):
        RunDirectory(tmp_path, now)
    with pytest.raises(UserError, match=r"config\.seed=0, now config\.seed=1"):
        RunDirectory(tmp_path, {**now, "seed": 1}, free=["config.ensemble.executor"])


def test_a_directory_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        RunDirectory(tmp_path, CONFIG)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_was_killed_while_it_wrote_its_first_file_begins_again(tmp_path):
    (tmp_path / ".tmp-abc.json").write_text('{"seed"')
    with RunDirectory(tmp_path, {"seed": 0}).lock():
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "config.json"]


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="is a file"):
        RunDirectory(tmp_path / "run", CONFIG)


def test_a_second_process_is_refused_and_told_who_holds_the_directory(tmp_path):
    run = RunDirectory(tmp_path / "run", CONFIG)
    code = (
        "import json,sys; from tfpdu.common.run_directory import RunDirectory\n"
        "config=json.loads(sys.argv[2])\n"
        "with RunDirectory(sys.argv[1], config).lock(): pass"
    )
    command = [sys.executable, "-c", code, str(run.path), json.dumps(CONFIG)]
    with run.lock():
        refused = subprocess.run(command, capture_output=True, text=True)
    assert "in use by process" in refused.stderr
    assert subprocess.run(command).returncode == 0


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    run.file("samples").mkdir()
    run.file("samples", ".tmp-abc.npz").write_bytes(b"half")
    with run.lock():
        assert not run.file("samples", ".tmp-abc.npz").exists()
        assert run.file("config.json").exists()


def test_what_another_process_is_writing_below_is_left_alone(tmp_path):
    root = RunDirectory(tmp_path, {})
    for below in ("run", "plain"):
        (tmp_path / below).mkdir()
        (tmp_path / below / ".tmp-x").touch()
    (tmp_path / "run" / ".lock").touch()  # a run of its own, which clears what is its own
    with root.lock():
        assert [path.parent.name for path in tmp_path.rglob(".tmp-*")] == ["run"]


def test_an_event_is_recorded_once_and_found_again(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    run.record({"event": "iteration", "iteration": 1, "test_accuracy": 0.5})
    run.record({"event": "iteration", "iteration": 1, "test_accuracy": 0.9})
    assert run.events("iteration") == [{"event": "iteration", "iteration": 1, "test_accuracy": 0.5}]
    assert run.event("iteration", 2) is None


def test_rows_of_one_iteration_are_replaced_and_others_kept(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    run.replace_rows("audit.json", [{"iteration": 0, "v": 1}], iteration=0)
    run.replace_rows("audit.json", [{"iteration": 1, "v": 2}], iteration=1)
    run.replace_rows("audit.json", [{"iteration": 0, "v": 3}], iteration=0)
    rows = json.loads((tmp_path / "audit.json").read_text())
    assert sorted((row["iteration"], row["v"]) for row in rows) == [(0, 3), (1, 2)]
