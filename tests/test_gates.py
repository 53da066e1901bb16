import json
import shutil
from pathlib import Path

import pytest

from tests.commands import command
from tfpdu.common import UserError, files
from tfpdu.common.gate import Gate
from tfpdu.common.run_directory import RunDirectory
from tfpdu.gates import fired

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    """The shipped example: ten iterations on CIFAR-10."""
    return RunDirectory.existing(shutil.copytree(ROOT / "docs/examples/cifar10", tmp_path / "run"))


def animals(run):
    rows = files.read_json(run.file("fairness.json"))
    return next(row["value"] for row in rows if row["group"] == "animal" and row["iteration"] == 10)


def test_a_gate_asks_for_group_fairness_and_attacks_of_the_last_iteration(run):
    value, name = animals(run), "superclass.animal.accuracy.value"
    assert fired(run, [Gate(name, "<", value + 1e-3)]) == [
        f"{name} is {value:.4g}, the gate fires at <{value + 1e-3:g}"
    ]
    assert fired(run, [Gate(name, "<", value - 1e-3)]) == []
    audit = [row for row in files.read_json(run.file("audit.json")) if row["iteration"] == 10]
    highest = max(row["auc"] for row in audit if row["attack"] == "m_loss" and row["protocol"] == "holdout")
    assert len(fired(run, [Gate("m_loss.auc", ">=", highest), Gate("m_loss.auc", ">", highest)])) == 1


def test_after_a_deletion_round_it_asks_for_what_the_round_left(run):
    rows = files.read_json(run.file("fairness.json"))
    after = [{**row, "stage": "round 1", "value": 0.125} for row in rows if row["iteration"] == 10]
    run.replace_rows("fairness.json", after, iteration=10, stage="round 1")
    audit = [row for row in files.read_json(run.file("audit.json")) if row["iteration"] == 10]
    requested = [{**row, "auc": 0.75} for row in audit]
    run.record({"event": "deletion", "round": 1, "after_iteration": 10, "audit": requested})
    assert fired(run, [Gate("superclass.animal.accuracy.value", "<=", 0.125)])
    assert fired(run, [Gate("m_loss.auc", ">=", 0.75)])


def test_what_was_not_measured_is_one_line(run, tmp_path):
    with pytest.raises(UserError, match=r"unknown 'm_los\.auc', did you mean 'm_loss\.auc'"):
        fired(run, [Gate("m_los.auc", ">", 0.5)])
    empty = RunDirectory(tmp_path / "empty", {})
    with pytest.raises(UserError, match="no step that was measured"):
        fired(empty, [Gate("m_loss.auc", ">", 0.5)])
    assert fired(empty, []) == []


def test_a_gate_of_another_form_ends_a_run_before_it_begins(tmp_path):
    words = ["scripts/run_pdu.py", "--config=digits", f"--workdir={tmp_path / 'run'}", "--fail_if=m_loss.auc=0.5"]
    done = command(*words)
    assert done.returncode == 2
    assert "--fail_if=m_loss.auc=0.5: expected a name" in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_whose_gate_fires_is_whole_and_ends_with_3(tmp_path):
    small = ["--config.loop.until=1", "--config.ensemble.epochs=1", "--config.augment.method=oversample"]
    gates = ["--fail_if=worst_group_accuracy.value<=1", "--fail_if=m_loss.auc<0"]
    words = ["scripts/run_pdu.py", "--config=digits", f"--workdir={tmp_path / 'run'}", *small, *gates]
    done = command(*words, timeout=600)
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("tfpdu: --fail_if: worst_group_accuracy.value is 0")
    events = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [event["iteration"] for event in events if event["event"] == "iteration"] == [0, 1]
    assert (tmp_path / "run/report.html").exists()
