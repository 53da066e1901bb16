"""Algorithm 2 end to end on a tiny run: the invariants, and resuming wherever it was killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.loop_config import tiny_config
from tfpdu import material
from tfpdu.common import StopRequested, UserError, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.diffusion import fit_generator, load_generator, load_noisy_classifier
from tfpdu.loop import _Loop, run_pdu
from tfpdu.settings import Settings
from tfpdu.steps import Step
from tfpdu.unlearning import ShardedLearner

RUN = "import json,sys; from tfpdu.loop import run_pdu; run_pdu(json.loads(sys.argv[1]), sys.argv[2])"
ROOT = Path(__file__).parents[1]


def start(config: dict, workdir: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, json.dumps(config), str(workdir)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def finish(config: dict, workdir: Path) -> None:
    run_pdu(config, workdir)


def timeless(value):
    """A JSON value without what the clock decides."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not k.endswith("seconds") and k != "images_per_second"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def h5_hash(path: Path) -> str:
    arrays = []
    with h5py.File(path) as file:
        file.visititems(lambda key, item: arrays.append(np.asarray(item)) if hasattr(item, "dtype") else None)
    return files.array_hash(*arrays)


def contents(workdir: Path) -> dict:
    """Every result file of a run by name: arrays by hash, JSON without times."""
    found = {}
    for path in sorted(workdir.rglob("*")):
        name = str(path.relative_to(workdir))
        if path.is_dir() or path.name == ".lock" or name.startswith("tensorboard") or path.suffix == ".html":
            continue
        if path.suffix == ".h5":
            found[name] = h5_hash(path)
        elif path.suffix == ".npz":
            found[name] = {key: files.array_hash(array) for key, array in files.read_npz(path).items()}
        elif path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "table1.csv":
            found[name] = [row.split(",")[:3] for row in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    finish(tiny_config(), workdir)
    return workdir


def iterations(workdir: Path) -> list[dict]:
    return [e for e in files.read_json_lines(workdir / "metrics.jsonl") if e["event"] == "iteration"]


def test_originals_fall_to_none_while_the_size_stays(uninterrupted):
    events = iterations(uninterrupted)
    assert [e["iteration"] for e in events] == [0, 1, 2]
    assert [e["n_original"] for e in events] == [100, 50, 0]
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1
    assert [e["forget_fraction"] for e in events] == [0.0, 0.5, 1.0]


def traces(workdir: Path) -> list[dict]:
    return [e for e in files.read_json_lines(workdir / "metrics.jsonl") if e["event"] == "traces"]


def test_it_is_asked_once_whether_the_generator_knows_the_originals(uninterrupted):
    (found,) = traces(uninterrupted)
    assert "iteration" not in found
    assert found["population"] == "originals"
    assert 0 < found["rows"] == found["strangers"] <= 100
    assert found["ci_low"] < found["auc"] < found["ci_high"]


def test_bias_stays_under_rho_from_algorithm_1_to_the_end(uninterrupted):
    report = json.loads((uninterrupted / "bias.json").read_text())
    assert report["kl_before"] > 0.1 > 1e-6 > report["kl_after"]
    assert all(e["bias_kl"] < 1e-6 for e in iterations(uninterrupted))


FILES = """config.json manifest.json metrics.jsonl bias.json audit.json table1.csv fairness.json report.html
pools.json samples/showcase.npz generator shards tensorboard"""


def test_the_run_directory_holds_what_the_contract_names(uninterrupted):
    assert [name for name in FILES.split() if not (uninterrupted / name).exists()] == []
    assert not (uninterrupted / "baseline").exists()
    audit, fairness = (json.loads((uninterrupted / f"{name}.json").read_text()) for name in ("audit", "fairness"))
    assert {row["iteration"] for row in audit} == {0, 1, 2}
    assert {row["stage"] for row in fairness} == {"before", "after", "iteration"}


def test_group_fairness_is_measured_before_and_after_algorithm_1_and_after_every_iteration(uninterrupted):
    rows = json.loads((uninterrupted / "fairness.json").read_text())
    moments = {}
    for row in rows:
        moments.setdefault((row["iteration"], row["stage"]), []).append({**row, "stage": "", "iteration": 0})
    assert list(moments) == [(0, "before"), (0, "after"), (0, "iteration"), (1, "iteration"), (2, "iteration")]
    assert moments[0, "after"] == moments[0, "iteration"]
    for found in moments.values():
        (parity,) = [r for r in found if (r["attribute"], r["metric"]) == ("parity", "demographic_parity")]
        assert parity["group"] == "all"
        assert 0 <= parity["ci_low"] <= parity["value"] <= parity["ci_high"] <= 1
        # a digit is even or odd, so no class occurs in both groups
        (odds,) = [r for r in found if (r["attribute"], r["metric"]) == ("parity", "equalized_odds")]
        assert odds["value"] is None
    report = (uninterrupted / "report.html").read_text()
    assert "guarantees none of these measures" in report


def test_only_weights_of_the_last_step_are_left(uninterrupted):
    shards = sorted(p.name for p in (uninterrupted / "shards").iterdir() if p.is_dir())
    assert shards == ["0", "1"]
    for shard in shards:
        assert len(list((uninterrupted / "shards" / shard).glob("*.weights.h5"))) == 1


def test_a_deleted_id_never_returns(uninterrupted):
    drawn = set(json.loads((uninterrupted / "pools.json").read_text())["draw"])
    for path in (uninterrupted / "samples").glob("0*.npz"):
        assert not drawn & set(files.read_npz(path)["ids"].tolist())


def test_a_finished_run_started_again_changes_nothing(uninterrupted):
    before = contents(uninterrupted)
    finish(tiny_config(), uninterrupted)
    assert contents(uninterrupted) == before


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("samples/0001.npz", marks=pytest.mark.slow),
        pytest.param("judge/parity", marks=pytest.mark.slow),
        pytest.param("samples/0000.npz", marks=pytest.mark.slow),
        pytest.param("audit.json", marks=pytest.mark.slow),
        pytest.param("samples/0002.npz", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_resumes_to_the_results_of_an_uninterrupted_one(uninterrupted, tmp_path, moment):
    workdir = tmp_path / "run"
    process = start(tiny_config(), workdir)
    deadline = time.monotonic() + 300
    while not (workdir / moment).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    process.kill()
    process.communicate()
    finish(tiny_config(), workdir)
    assert contents(workdir) == contents(uninterrupted)


@pytest.mark.slow
def test_runs_killed_at_many_moments_resume_to_the_same_results(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    moments = np.random.default_rng(0).uniform(5, 20, 6)
    for moment in moments:  # the same run, killed again and again
        process = start(tiny_config(), workdir)
        try:
            process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    finish(tiny_config(), workdir)
    assert contents(workdir) == contents(uninterrupted)


@pytest.mark.slow
def test_sigterm_stops_at_a_safe_point_and_the_run_resumes(uninterrupted, tmp_path):
    workdir = tmp_path / "run"
    code = RUN.replace("; run_pdu", "; from tfpdu.common.interrupt import deferred\nwith deferred(): run_pdu")
    command = [sys.executable, "-c", code, json.dumps(tiny_config()), str(workdir)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not (workdir / "generator" / "generator.json").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert StopRequested.__name__ in errors
    assert process.returncode != -signal.SIGTERM
    finish(tiny_config(), workdir)
    assert contents(workdir) == contents(uninterrupted)


def test_a_generator_below_the_floor_ends_the_run_and_every_run_after_it(tmp_path):
    config = tiny_config(generator__floor=0.95, judge__epochs=30)  # a generator of 1,024 images makes noise
    for _ in range(2):  # found in the directory or just trained: it is not used
        with pytest.raises(UserError, match="its samples reach only"):
            run_pdu(config, tmp_path / "run")
    (gate,) = [e for e in files.read_json_lines(tmp_path / "run" / "metrics.jsonl") if e["event"] == "quality_gate"]
    assert not gate["passed"]
    assert not (tmp_path / "run" / "samples" / "0000.npz").exists()


@pytest.mark.slow
def test_with_scope_shard_every_shard_meets_the_prior_by_itself(tmp_path):
    finish(tiny_config(augment__scope="shard"), tmp_path / "run")
    events = iterations(tmp_path / "run")
    assert [e["n_original"] for e in events] == [100, 50, 0]
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1
    samples = [files.read_npz(path) for path in sorted((tmp_path / "run" / "samples").glob("0*.npz"))]
    shard = np.concatenate([s["shard"] for s in samples])
    parity = np.concatenate([s["attributes"][:, 0] for s in samples])
    for s in (0, 1):  # at the end a shard holds its samples alone
        even, odd = np.bincount(parity[shard == s], minlength=2)
        assert abs(even - odd) <= 1


@pytest.mark.parametrize(
    "method", ["oversample", *(pytest.param(m, marks=pytest.mark.slow) for m in ("none", "undersample", "reweigh"))]
)
def test_the_plain_alternatives_run_until_no_row_is_left(tmp_path, method):
    config = tiny_config(augment__method=method, loop__iterations=2)
    finish(config, tmp_path / "run")
    events = iterations(tmp_path / "run")
    assert [e["iteration"] for e in events] == [0, 1]  # after the second step no row would be left
    assert all(e["n_synthetic"] == 0 for e in events)


def test_a_run_may_be_gone_on_with_elsewhere(uninterrupted):
    before = (uninterrupted / "config.json").read_bytes()
    assert run_pdu(tiny_config(ensemble__executor="ray", ensemble__address="auto"), uninterrupted).exists()
    assert (uninterrupted / "config.json").read_bytes() == before


def test_a_prior_that_cannot_be_met_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(UserError, match=r"over max_growth=0\.1"):
        run_pdu(tiny_config(augment__max_growth=0.1), tmp_path / "run")
    assert not any((tmp_path / "run" / name).exists() for name in ("baseline", "judge", "generator"))


def test_a_run_of_another_configuration_is_refused_without_touching_it(uninterrupted):
    before = contents(uninterrupted)
    with pytest.raises(UserError, match=r"config\.seed=0, now config\.seed=1"):
        run_pdu(tiny_config(seed=1), uninterrupted)
    assert contents(uninterrupted) == before


@pytest.mark.skipif(os.geteuid() != 0 and not os.access("/dev/full", os.W_OK), reason="needs /dev/full")
def test_nothing_is_half_written_on_a_full_disk(tmp_path, monkeypatch):
    import errno

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_pdu(tiny_config(), tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {".lock", "problems.csv"}


@pytest.mark.slow
def test_an_eda_prior_leans_towards_the_cells_where_held_out_classifiers_err(tmp_path):
    run_pdu(tiny_config(prior__kind="eda", prior__over=(("label",),), loop__iterations=2), tmp_path)
    (measured,) = [e for e in files.read_json_lines(tmp_path / "metrics.jsonl") if e["event"] == "need"]
    need = np.array(measured["need"][0])
    assert measured["over"] == [["label"]]
    assert need.shape == (10,)
    assert 0 <= need.min() < need.max() <= 1
    row = json.loads((tmp_path / "bias.json").read_text())["attributes"]["label"]
    assert need @ row["prior"] > need @ row["before"]
    assert row["kl_after"] < 1e-6


@pytest.mark.slow
def test_an_eda_prior_with_a_stated_need_measures_nothing(tmp_path):
    run_pdu(tiny_config(prior__kind="eda", prior__need=((0.0, 1.0),)), tmp_path)
    assert not [e for e in files.read_json_lines(tmp_path / "metrics.jsonl") if e["event"] == "need"]
    row = json.loads((tmp_path / "bias.json").read_text())["attributes"]["parity"]
    assert row["before"] == [0.8, 0.2]
    assert row["prior"][1] > 0.29  # half of the weight selects among S by the need, which is odd alone


@pytest.fixture(scope="module")
def forget_ordered(tmp_path_factory) -> tuple[dict, Path]:
    options = {"slices": 2, "slice_order": "forget", "epochs": 3, "base_share": 0.6}
    config = tiny_config(loop__iterations=4, **{f"ensemble__{key}": value for key, value in options.items()})
    workdir = tmp_path_factory.mktemp("runs") / "forget"
    finish(config, workdir)
    return config, workdir


def test_forget_ordered_steps_cost_what_the_plan_says(forget_ordered):
    _, workdir = forget_ordered
    (plan,) = [e for e in files.read_json_lines(workdir / "metrics.jsonl") if e["event"] == "plan"]
    assert plan["rebuilds"] == [0, 2]
    np.testing.assert_allclose([e["cost"] for e in iterations(workdir)], plan["costs"])
    assert plan["costs"][1] == pytest.approx(1 / 3)
    assert "of as many full retrainings" in (workdir / "report.html").read_text()


def test_a_forget_ordered_run_ends_with_the_weights_of_one_that_never_saw_the_forgotten_rows(forget_ordered, tmp_path):
    config, workdir = forget_ordered
    loop = _Loop(Settings.from_config(config), RunDirectory(workdir, config))
    table = loop.state.tables.after(Step(4), np.array([]))
    assert not table.records.is_original.any()
    learner = ShardedLearner(
        tmp_path, loop.settings.ensemble, loop.settings.views, classes=10, input_shape=(8, 8, 1), seed=0
    )
    learner.learn(table.records, table.shard, table.slice)
    for shard in ("0", "1"):
        fresh, ours = ({p.name: h5_hash(p) for p in (d / "shards" / shard).glob("*.h5")} for d in (tmp_path, workdir))
        assert fresh == ours
        assert len(ours) == 2  # the base and the end


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "strict"
    run_pdu(tiny_config(generator__lineage="strict", generator__min_rows=60, loop__iterations=4), workdir)
    return workdir


def test_under_strict_lineage_nothing_of_an_earlier_generator_survives(strict):
    events = iterations(strict)
    assert [e["n_original"] for e in events] == [100, 75]
    assert len({e["n_original"] + e["n_synthetic"] for e in events}) == 1
    generators = [e for e in files.read_json_lines(strict / "metrics.jsonl") if e["event"] == "generator"]
    assert [(e["iteration"], e["rows"]) for e in generators] == [(0, 100), (1, 75)]
    assert sorted(p.name for p in (strict / "generator").iterdir()) == ["0001"]
    assert sorted(p.name for p in (strict / "samples").iterdir()) == ["0001.npz", "showcase.npz"]
    last = files.read_npz(strict / "samples" / "0001.npz")
    card = json.loads((strict / "generator" / "0001" / "generator.json").read_text())
    assert set(last["generator"].tolist()) == {card["id"]} != {generators[0]["id"]}
    assert len(last["ids"]) == events[-1]["n_synthetic"]
    drawn, order = (set(rows) for rows in (json.loads((strict / "pools.json").read_text())["draw"], card["row_ids"]))
    assert len(order) == 75
    assert order < drawn
    assert not [p for p in (strict / "tensorboard").rglob("*") if b"samples" in p.read_bytes()]


def test_under_strict_lineage_it_is_asked_whether_the_next_generator_knows_the_forgotten_rows(strict):
    (found,) = traces(strict)
    assert (found["iteration"], found["population"]) == (1, "forgotten")
    assert 0 < found["rows"] <= 25


def test_strict_lineage_ends_well_where_a_generator_would_have_too_few_rows(strict, capsys):
    (stopped,) = [e for e in files.read_json_lines(strict / "metrics.jsonl") if e["event"] == "stopped"]
    assert stopped["iteration"] == 2
    assert "50 originals" in stopped["reason"]
    assert stopped["reason"] in (strict / "report.html").read_text()
    before = contents(strict)
    run_pdu(tiny_config(generator__lineage="strict", generator__min_rows=60, loop__iterations=4), strict)
    assert "forgetting" not in capsys.readouterr().err  # again: nothing is made or trained
    assert contents(strict) == before


@pytest.fixture(scope="module")
def public_generator(tmp_path_factory) -> Path:
    """A generator of the rows of the public pool."""
    settings = Settings.from_config(tiny_config(pools__public=0.15))
    directory = tmp_path_factory.mktemp("public generator")
    fit_generator(material.gather(settings).pools.public, settings.generator, directory, 0)
    return directory


@pytest.mark.slow
def test_a_generator_from_before_the_run_is_used_as_it_is(tmp_path, public_generator):
    options = {"generator__pretrained": str(public_generator), "generator__lineage": "public", "generator__steps": 5}
    run_pdu(tiny_config(pools__public=0.15, **options), tmp_path)
    events = files.read_json_lines(tmp_path / "metrics.jsonl")
    (told,) = [e for e in events if e["event"] == "generator"]
    assert told["pretrained"] == str(public_generator)
    assert not (tmp_path / "generator").exists()
    assert [e["n_original"] for e in iterations(tmp_path)] == [100, 50, 0]
    assert {e["event"] for e in events} >= {"memory", "augment"}
    made = files.read_npz(tmp_path / "samples" / "0000.npz")
    assert set(made["generator"].tolist()) == {told["id"]}
    assert told["id"] != load_generator(public_generator).id  # it samples in more steps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"generator__lineage": "keep"}, "config.generator.lineage=keep"),
        ({"generator__pretrained": "digit"}, "config.generator.pretrained=digit: no generator of that name"),
        ({"data__attributes": ("parity", "stroke"), "prior__over": (("stroke",),)}, "stroke"),
    ],
)
def test_a_generator_that_does_not_fit_the_run_is_refused(tmp_path, public_generator, options, message):
    fitting = {"generator__pretrained": str(public_generator), "generator__lineage": "public"}
    with pytest.raises(UserError, match=message):
        run_pdu(tiny_config(**{"pools__public": 0.15, **fitting, **options}), tmp_path)


def test_a_generator_that_saw_rows_of_the_run_is_not_public(tmp_path):
    settings = Settings.from_config(tiny_config(pools__public=0.15))
    fit_generator(material.gather(settings).drawn, settings.generator, tmp_path / "generator", 0)
    fitting = {"generator__pretrained": str(tmp_path / "generator"), "generator__lineage": "public"}
    with pytest.raises(UserError, match="100 rows of S trained it"):
        run_pdu(tiny_config(pools__public=0.15, **fitting), tmp_path / "run")


@pytest.mark.slow
def test_data_that_meet_the_prior_already_are_learned_as_they_are(tmp_path):
    run_pdu(tiny_config(prior__kind="given", prior__given=((0.8, 0.2),)), tmp_path)
    assert [(e["n_original"], e["n_synthetic"]) for e in iterations(tmp_path)] == [(100, 0), (50, 50), (0, 100)]
    assert json.loads((tmp_path / "bias.json").read_text())["n_added"] == 0


@pytest.mark.slow
def test_samples_are_steered_to_an_attribute_that_the_generator_never_learned(tmp_path):
    run_pdu(tiny_config(generator__steer=("parity",), generator__steer_images=1024), tmp_path)
    (told,) = [e for e in files.read_json_lines(tmp_path / "metrics.jsonl") if e["event"] == "generator"]
    assert told["steered_to"] == ["parity"]
    assert load_generator(tmp_path / "generator").specs == ()
    classifier = load_noisy_classifier(tmp_path / "steering" / "parity")
    settings = Settings.from_config(files.read_json(tmp_path / "config.json"))
    auxiliary = material.gather(settings).pools.auxiliary
    assert len(classifier.card["row_ids"]) == -(-len(auxiliary) // 2)  # the judge has the others
    assert set(classifier.card["row_ids"]) <= set(auxiliary.ids.tolist())
    made = files.read_npz(tmp_path / "samples" / "0000.npz")
    assert np.bincount(made["attributes"][:, 0]).argmax() == 1  # odd digits were missing
    assert [e["n_original"] for e in iterations(tmp_path)] == [100, 50, 0]


@pytest.mark.slow
def test_critics_choose_among_candidates_and_the_run_says_how_often(tmp_path):
    critics = {"generator__critics": ("label", "parity"), "generator__candidates": 3}
    run_pdu(tiny_config(**critics, generator__critic_images=1024), tmp_path)
    events = files.read_json_lines(tmp_path / "metrics.jsonl")
    (told,) = [e for e in events if e["event"] == "generator"]
    assert (told["candidates"], told["critics"]) == (3, ["label", "parity"])
    for event in (e for e in events if e["event"] == "augment"):
        asked = event["requested"] + event["redrawn"] + event["redrawn_copies"]
        assert asked < event["candidates"] <= 3 * asked
        assert 0 <= event["kept_unlike"] <= asked
    drawn = material.gather(Settings.from_config(files.read_json(tmp_path / "config.json"))).drawn
    for name in ("label", "parity"):
        assert set(load_noisy_classifier(tmp_path / "generator" / "critics" / name).card["row_ids"]) == set(drawn.ids)


def test_what_a_critic_tells_apart_has_to_be_learned_by_the_generator(tmp_path):
    options = {"generator__steer": ("parity",), "generator__critic_images": 1024}
    with pytest.raises(UserError, match=r"config.generator.critics\[1\]: unknown 'parity'"):
        run_pdu(tiny_config(**options, generator__critics=("label", "parity")), tmp_path)


def test_an_attribute_to_steer_to_has_to_exist(tmp_path):
    with pytest.raises(UserError, match=r"config.generator.steer\[0\]: unknown 'pariti', did you mean 'parity'"):
        run_pdu(tiny_config(generator__steer=("pariti",)), tmp_path)


@pytest.mark.slow
def test_the_naive_sequence_augments_once_and_drifts_from_its_prior(tmp_path):
    """No synthetic row comes after Algorithm 1, the originals leave as ever, and the bias comes back."""
    run_pdu(tiny_config(augment__replenish=False, loop__iterations=4), tmp_path)
    events = RunDirectory.existing(tmp_path).events("iteration")
    assert [event["n_original"] for event in events] == [100, 75, 50, 25, 0]
    assert len({event["n_synthetic"] for event in events}) == 1
    assert events[0]["n_synthetic"] == 60
    kls = [event["bias_kl"] for event in events]
    assert kls[0] == pytest.approx(0, abs=1e-6)
    assert kls[3] > kls[1] > 0
    assert kls[4] is None  # only odd digits are left: KL is infinite


@pytest.mark.slow
def test_a_run_until_a_step_is_the_start_of_the_whole_run(tmp_path):
    for name, until in (("whole", -1), ("part", 1)):
        run_pdu(tiny_config(loop__until=until), tmp_path / name)
    whole, part = (RunDirectory.existing(tmp_path / name) for name in ("whole", "part"))
    assert [e["iteration"] for e in part.events("iteration")] == [0, 1]
    for t in (0, 1):
        assert part.event("iteration", t)["artefacts"] == whole.event("iteration", t)["artefacts"]
    assert part.events("stopped") == [{"event": "stopped", "iteration": 2, "reason": "config.loop.until=1"}]
    assert not whole.events("stopped")
    run_pdu(part.config, part.path)  # done: nothing more comes
    assert len(part.events("iteration")) == 2
