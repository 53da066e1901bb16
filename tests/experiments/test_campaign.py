"""Cells are run once, resumed, passed over when done, and stopped by a signal; what they found is collected."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.loop_config import tiny_config
from tfpdu.cli.app import load_preset
from tfpdu.common import UserError, files, interrupt
from tfpdu.common.errors import StopRequested
from tfpdu.experiments import KNOWN, Contrast, Experiment, Variant, campaign
from tfpdu.experiments.campaign import Campaign, Changes, cells_of
from tfpdu.experiments.collection import (
    collect_run,
    contrast,
    is_collected,
    may_show_samples,
    place_of,
    refuse_another,
    summarise_experiment,
    with_seeds,
)
from tfpdu.reporting.comparison import flat
from tfpdu.reporting.experiment_page import _cell, write_experiment_page
from tfpdu.reporting.measurements import Measured, measurements
from tfpdu.reporting.run_data import read_run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/cifar10"
MEASURES = (("test_accuracy@last", "test accuracy at the end", "share"), ("kl_before", "bias", "nats"))
LOOP, OTHER = Variant("loop", "digits", words="the loop"), Variant("other", "digits", (("loop.until", 0),), "another")
BOTH = Experiment(
    "both",
    "Both",
    "Which?",
    (LOOP, OTHER),
    (0, 1),
    MEASURES,
    (Contrast("test_accuracy@last", "loop", "other", "loop less other"),),
)


def finish(cell):
    """Makes a cell's directory that of a finished run: the committed one, under the cell's configuration."""
    shutil.copytree(EXAMPLE, cell.workdir)
    files.write_json(cell.workdir / "config.json", cell.config)
    files.write_json(cell.notes, {"seconds": 120.0, "command": cell.command})


@pytest.fixture
def cells(tmp_path):
    return cells_of([BOTH], tmp_path / "root", load_preset, Changes())


def test_a_finished_cell_is_done_and_another_configuration_in_its_place_is_refused(cells):
    first = cells[0]
    assert not first.done
    finish(first)
    assert first.done
    (first.workdir / "report.html").unlink()
    assert not first.done
    changed = dict(first.config, seed=9)
    with pytest.raises(UserError, match=r"made with config.seed=0, now config.seed=9"):
        _ = dataclasses.replace(first, config=changed).done


def test_finished_cells_are_passed_over_and_tell_how_long_the_others_take(cells):
    for cell in cells:
        finish(cell)
    seen = []
    assert Campaign(cells).run(lambda cell: seen.append(cell.name)) == []
    assert seen == ["loop, seed 0", "other, seed 0", "loop, seed 1", "other, seed 1"]
    shutil.rmtree(cells[2].workdir)
    shutil.rmtree(cells[3].workdir)
    assert Campaign(cells).minutes_left() == pytest.approx(4)  # two runs of 2 minutes, as their siblings took
    shutil.rmtree(cells[1].workdir)
    assert Campaign(cells, {"other": 5.0}).minutes_left() == pytest.approx(2 + 5 + 5)
    assert Campaign(cells_of([BOTH], cells[0].root / "new", load_preset, Changes())).minutes_left() is None


@pytest.mark.slow
def test_a_cell_that_fails_is_told_and_the_others_go_on(cells, tmp_path):
    broken = Experiment("x", "X", "?", (Variant("broken", "digits", (("draw.rows", 10**6),)),), (0,))
    (wrong,) = cells_of([broken], cells[0].root, load_preset, Changes())
    finish(cells[0])
    seen = []
    (line,) = Campaign([wrong, cells[0]], poll_seconds=0.1).run(lambda cell: seen.append(cell.name))
    assert seen == ["loop, seed 0"]
    assert line.startswith("broken, seed 0: exit code 2")
    assert "1000000" in line


def test_a_signal_is_passed_on_once_and_ends_the_campaign(cells, monkeypatch):
    """The run gets a SIGTERM and ends as `tfpdu run` does; the next cell is not begun."""
    stand_in = (
        "import signal, sys, time; from pathlib import Path; place = Path(sys.argv[-1].partition('=')[2])\n"
        "def stop(*_): print('asked to stop'); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop); place.mkdir(); (place / 'begun').touch(); time.sleep(60)"
    )
    monkeypatch.setattr(campaign, "_DOOR", stand_in)

    def ask():
        while not (cells[0].workdir / "begun").exists():
            time.sleep(0.05)
        interrupt.request("SIGTERM")

    with interrupt.deferred():
        threading.Thread(target=ask, daemon=True).start()
        with pytest.raises(StopRequested, match="SIGTERM"):
            Campaign(cells, poll_seconds=0.05).run(lambda cell: None)
    assert cells[0].workdir.with_suffix(".log").read_text() == "asked to stop\n"
    assert 0 < files.read_json(cells[0].notes)["seconds"] < 60
    assert not cells[1].workdir.exists()


def collect(cells, directory):
    for cell in cells:
        collect_run(cell, place_of(directory, cell.variant.name, cell.seed))
    return summarise_experiment(BOTH, directory)


def test_collected_files_are_enough_for_the_summary(cells, tmp_path):
    for cell in cells[:3]:
        finish(cell)
    summary = collect(cells[:3], tmp_path / "out")
    shutil.rmtree(cells[0].root)
    assert summarise_experiment(BOTH, tmp_path / "out") == summary
    assert summary["missing"] == ["other, seed 1"]
    (place_of(tmp_path / "out", "other", 0) / "report.html").unlink()  # killed while it was collected
    assert summarise_experiment(BOTH, tmp_path / "out")["missing"] == ["other, seed 0", "other, seed 1"]
    loop = summary["variants"]["loop"]
    assert loop["measures"]["test_accuracy@last"] == {
        "value": 0.4661, "low": 0.4661, "high": 0.4661, "runs": 2, "interval": "t over 2 seeds"
    }  # fmt: skip
    assert loop["seeds"] == [0, 1]
    assert loop["seconds"] == [120.0, 120.0]
    assert summary["variants"]["other"]["measures"]["test_accuracy@last"]["interval"] == "binomial, one run"
    assert summary["contrasts"][0]["value"] == 0
    assert summary["contrasts"][0]["low"] is None  # one pair
    text = json.dumps(summary)
    assert str(tmp_path) not in text


def test_experiments_share_runs_and_each_shows_its_own_seeds(cells, tmp_path):
    for cell in cells:
        finish(cell)
    collect(cells, tmp_path)
    one = dataclasses.replace(BOTH, name="one", variants=(LOOP,), seeds=(1, 2), contrasts=())
    summary = summarise_experiment(one, tmp_path)
    assert summary["variants"]["loop"]["seeds"] == [1]
    assert summary["variants"]["loop"]["runs"] == ["../runs/loop-seed-1"]
    assert summary["missing"] == ["loop, seed 2"]
    assert sorted(path.name for path in tmp_path.glob("runs/loop-*")) == ["loop-seed-0", "loop-seed-1"]


def test_a_run_of_other_settings_in_the_same_place_is_refused(cells, tmp_path):
    refuse_another(cells[0], tmp_path)  # nothing is there
    finish(cells[0])
    collect_run(cells[0], tmp_path)
    refuse_another(cells[0], tmp_path)
    refuse_another(dataclasses.replace(cells[0], config=with_value(cells[0].config, "executor", "process")), tmp_path)
    other = dataclasses.replace(cells[0], config=with_value(cells[0].config, "width", 24))
    with pytest.raises(UserError, match=r"holds another run, made with config\.ensemble\.width=.*; remove it, or"):
        refuse_another(other, tmp_path)


def with_value(config, name, value):
    return {**config, "ensemble": {**config["ensemble"], name: value}}


def test_an_interval_ends_where_what_it_is_of_does():
    number = {"value": 0.9, "low": -0.2, "high": 1.25}
    assert _cell({"value": 90.0, "low": -20.0, "high": 200.0}, "seconds")["ends"] == "0s to 3m 20s"
    assert _cell(number, "nats", difference=True)["ends"].startswith("-0.2")
    assert _cell(number, "share")["ends"] == "0.0% to 100.0%"
    assert _cell(number, "points")["ends"] == "-20.0 points to 125.0 points"


def test_of_group_fairness_the_first_and_the_last_iteration_are_kept(cells, tmp_path):
    finish(cells[0])
    whole = files.read_json(cells[0].workdir / "fairness.json")
    last = max(row["iteration"] for row in whole)
    assert last > 1
    collect_run(cells[0], tmp_path / "out")
    kept = files.read_json(tmp_path / "out" / "fairness.json")
    assert kept == [row for row in whole if row["iteration"] in (0, last)]
    assert measurements(read_run(tmp_path / "out")) == measurements(read_run(cells[0].workdir))


def test_a_run_is_collected_once_it_is_finished_with_the_same_settings(cells, tmp_path):
    first, place = cells[0], tmp_path / "out"
    assert not is_collected(first, place)
    finish(first)
    collect_run(first, place)
    shutil.rmtree(first.workdir)
    assert is_collected(first, place)
    assert not is_collected(dataclasses.replace(first, config=dict(first.config, seed=9)), place)
    lines = (place / "metrics.jsonl").read_text().splitlines(keepends=True)
    files.write_text(place / "metrics.jsonl", "".join(lines[: len(lines) // 2]))
    assert not is_collected(first, place)


def test_collected_settings_name_no_places_of_the_machine(cells, tmp_path):
    changes = Changes(initial=str(tmp_path / "mine.weights.h5"))
    (cell,) = cells_of(
        [Experiment("x", "X", "?", (Variant("t", "cifar10:transfer"),), (0,))], tmp_path / "root", load_preset, changes
    )
    finish(cell)
    collect_run(cell, tmp_path / "out")
    assert files.read_json(tmp_path / "out/config.json")["ensemble"]["initial"] == "mine.weights.h5"
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {"report.html", "metrics.jsonl", "table1.csv", "cell.json"} <= {path.name for path in kept}
    assert not any(str(tmp_path) in path.read_text(encoding="utf-8") for path in kept)
    assert not any(path.suffix in (".npz", ".h5") for path in kept)


def test_differences_are_paired_by_seed():
    wanted = Contrast("a", "x", "y", "")
    first = {s: {"a": Measured(v)} for s, v in ((0, 1.0), (1, 2.0), (2, 9.0))}
    second = {s: {"a": Measured(v)} for s, v in ((0, 0.5), (1, 0.5))}
    found = contrast(wanted, first, second)
    assert (found.value, found.runs) == (1.0, 2)
    assert found.high - 1 == pytest.approx(12.7062 * 0.5, rel=1e-4)  # t(0.975, 1) times the standard error
    assert contrast(wanted, {0: {}}, second) is None


@pytest.mark.parametrize(("originals", "kept", "shown"), [(True, 3, True), (False, 0, True), (False, 1, False)])
def test_samples_too_near_to_a_face_are_not_passed_on(made_up_directory, originals, kept, shown):
    config = files.read_json(made_up_directory / "config.json") | {"report": {"originals": originals}}
    files.write_json(made_up_directory / "config.json", config)
    files.append_json_line(
        made_up_directory / "metrics.jsonl", {"event": "augment", "iteration": 0, "kept_copies": kept}
    )
    assert may_show_samples(read_run(made_up_directory)) == shown


@pytest.fixture
def made_up_directory(tmp_path):
    return Path(shutil.copytree(EXAMPLE, tmp_path / "run"))


def test_the_page_shows_variants_differences_figures_and_what_is_missing(cells, tmp_path):
    for cell in cells[:3]:
        finish(cell)
    summary = collect(cells[:3], tmp_path / "out")
    write_experiment_page(tmp_path / "out/both", summary, MEASURES)
    text = (tmp_path / "out/both/index.html").read_text(encoding="utf-8")
    assert "Not run yet: other, seed 1." in text
    assert '<data value="0.4661">46.6%</data>' in text
    assert "loop less other" in text
    assert 'href="../runs/loop-seed-0/report.html"' in text
    assert (tmp_path / "out/both/../runs/loop-seed-0/report.html").is_file()
    assert "http" not in text
    assert "samples.png" not in text  # none were kept
    svg = (tmp_path / "out/both/attacks-loop.svg").read_text(encoding="utf-8")
    assert svg.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert {"Moments", "M-Loss"} <= set(re.findall(r">([\w-]+)</text>", svg))  # it says which line is which
    assert "@media (prefers-color-scheme: dark)" in svg
    assert (tmp_path / "out/both/groups-loop-superclass.svg").is_file()


def test_a_published_course_is_drawn_beside_ours(cells, tmp_path):
    finish(cells[0])
    summary = collect(cells[:1], tmp_path / "out")
    published = {"place": "Table I", "kind": "value", "unit": "share", "verdict": "better", "reason": ""}
    summary["variants"]["loop"]["paper"] = [
        {**published, "name": f"testing accuracy, iteration {t}", "measure": f"test_accuracy@{t}", "published": 0.64,
         "measured": 0.7, "ci_low": 0.68, "ci_high": 0.72}
        for t in (1, 2, 3)
    ]  # fmt: skip
    write_experiment_page(tmp_path / "out", summary, MEASURES)
    course = (tmp_path / "out/course-loop-test-accuracy.svg").read_text(encoding="utf-8")
    assert {"ours", "the paper"} <= set(re.findall(r">([\w ]+)</text>", course))
    assert "paper 64.0% at first, 64.0% at last; ours 70.0% at first, 70.0% at last" in course
    assert (tmp_path / "out/course-loop.md").read_text(encoding="utf-8").splitlines() == [
        "| iteration | testing accuracy: paper | ours |",
        "| --- | --- | --- |",
        *(f"| {t} | 64.0% | 70.0% (68.0% to 72.0%) |" for t in (1, 2, 3)),
    ]


# ---- the command ------------------------------------------------------------------------------------------------


def test_a_page_keeps_the_seeds_that_were_named_before(cells, tmp_path):
    for cell in cells:
        finish(cell)
    one = dataclasses.replace(BOTH, seeds=(0,))
    assert with_seeds(one, (), tmp_path).seeds == (0,)
    collect(cells, tmp_path)
    files.write_json(tmp_path / "both/summary.json", summarise_experiment(with_seeds(one, (1,), tmp_path), tmp_path))
    assert with_seeds(one, (), tmp_path).seeds == (0, 1)


def plan_of(path, **variants):
    base = flat(load_preset("digits").to_dict())
    tiny = flat(tiny_config())
    shared = {key: value for key, value in tiny.items() if base.get(key) != value}
    entries = [{"name": n, "config": "digits", "overrides": {**shared, **v}, "words": n} for n, v in variants.items()]
    files.write_json(
        path,
        [{"name": "tiny", "title": "Tiny", "question": "?", "variants": entries, "seeds": [0], "measures": MEASURES}],
    )
    return path


def results(*words):
    return [sys.executable, "scripts/results.py", *map(str, words)]


@pytest.mark.slow
def test_runs_are_made_stopped_resumed_and_collected(tmp_path):
    """One cell: stopped by SIGTERM at a safe point, taken up by the same command, collected; then nothing is to do."""
    plan = plan_of(tmp_path / "plan.json", until={"loop.until": 0, "augment.replenish": False})
    words = results(f"--plan={plan}", f"--root={tmp_path / 'root'}", f"--output={tmp_path / 'out'}")
    child = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    workdir = tmp_path / "root/until/seed-0"
    deadline = time.monotonic() + 120
    while not (workdir / "manifest.json").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(child.pid, signal.SIGTERM)
    _, told = child.communicate(timeout=120)
    assert child.returncode == 143, told
    assert "the same command resumes" in told
    assert not (workdir / "report.html").exists()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "1/1 until, seed 0: done in" in done.stderr
    summary = files.read_json(tmp_path / "out/tiny/summary.json")
    assert summary["variants"]["until"]["seeds"] == [0]
    assert summary["variants"]["until"]["measures"]["originals@last"]["value"] == 100
    events = read_run(workdir).events
    assert [e["iteration"] for e in events if e["event"] == "iteration"] == [0]
    assert next(e for e in events if e["event"] == "stopped")["reason"] == "config.loop.until=0"
    again = subprocess.run([*words, "--collect"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0
    assert str(tmp_path / "out/tiny/index.html") in again.stdout
    shutil.rmtree(tmp_path / "root")
    elsewhere = subprocess.run([*words, "--missing"], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert elsewhere.returncode == 0
    assert "0 runs" in elsewhere.stderr
    assert not workdir.exists()


@pytest.mark.slow
def test_a_dry_run_lists_the_runs_with_minutes_and_runs_none(tmp_path):
    plan = plan_of(tmp_path / "plan.json", loop={}, naive={"augment.replenish": False})
    words = results(f"--plan={plan}", f"--root={tmp_path / 'root'}", "--dry_run", "--seeds=0,1")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 5
    assert all(" min  tfpdu run --config=digits" in line for line in lines[:4])
    assert lines[-1].endswith("in all, 4 runs")
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
    done = subprocess.run(results("--plan=tabel1"), cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        line for line in done.stderr.strip().splitlines() if "did you mean 'table1'" in line
    ]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs/results").glob("*/summary.json")), ids=lambda path: path.parent.name
)
def test_every_number_kept_is_that_of_the_files_of_its_runs(path):
    kept = files.read_json(path)
    (experiment,) = KNOWN[kept["experiment"]]
    again = files.plain(summarise_experiment(experiment, path.parents[1]))
    assert json.dumps(again) == json.dumps(kept)  # in their order, too


def test_every_run_that_is_kept_belongs_to_an_experiment():
    used = {
        run
        for path in (ROOT / "docs/results").glob("*/summary.json")
        for variant in files.read_json(path)["variants"].values()
        for run in variant["runs"]
    }
    assert used == {f"../runs/{path.name}" for path in (ROOT / "docs/results/runs").iterdir()}
