"""The benchmarks of unlearning: counted costs beside theory, steps compared over the same tables, and their summary."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import audit, forgetting, overfitted, private_classifier, serving, unlearning
from tests.loop_config import tiny_config
from tfpdu.cli.app import as_dict, load_preset
from tfpdu.common import UserError, files
from tfpdu.data import load
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.ensemble.weights import save_weights
from tfpdu.material import gather
from tfpdu.settings import Settings
from tfpdu.unlearning import ShardedLearner
from tfpdu.unlearning.methods import DescentSettings, Examples
from tfpdu.unlearning.methods.descent import descend, learning

CONFIG = {"ensemble__epochs": 3, "ensemble__width": 4, "ensemble__base_share": 0.6}
CONFIG |= {"augment__method": "oversample", "draw__rows": 60, "loop__iterations": 4}


@pytest.mark.parametrize("case", unlearning.CASES, ids=lambda case: f"{case.name}, {case.drawn}")
def test_counted_costs_are_within_a_tenth_of_theory(case):
    records = load("digits")
    for share in unlearning.SHARES:
        line, typical = unlearning.compare(case, records, share, draws=200)
        assert typical.sum() == line["forgotten"] == max(1, round(share * 1797))
        assert abs(line["deviation"]) < 0.1


# ---- forgetting: steps compared over the same tables -------------------------------------------------


def compared(directory: Path, methods=("full", "forget", "sisa"), steps=1, **changes):
    config = tiny_config(**(CONFIG | changes))
    forgetting.measure(config, directory, directory / "lines.jsonl", [3], methods, steps)
    return files.read_json_lines(directory / "lines.jsonl")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    directory = tmp_path_factory.mktemp("forgetting")
    return directory, compared(directory)


@pytest.fixture(scope="module")
def seed(done):
    return forgetting.Seed(forgetting.run_of(tiny_config(**CONFIG), done[0], 3))


def without_time(lines):
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_every_method_learns_the_same_rows_in_the_same_shards(done, seed):
    for t in (0, 1):
        full, *others = tables = [seed.table(method, t) for method in ("full", "forget", "sisa")]
        for other in others:
            assert other.records.ids.tolist() == full.records.ids.tolist()
            assert other.shard.tolist() == full.shard.tolist()
        assert {line["rows"] for line in done[1] if line["step"] == t} == {len(full.records)}
        if t == 0:  # at step 1 the base is about to be made anew, and holds everything
            assert [sorted(set(table.slice.tolist())) for table in tables] == [[0], [0, 1], [0, 1, 2, 3]]


def test_a_line_tells_what_learning_the_table_from_nothing_gives(done, seed, tmp_path):
    line = next(line for line in done[1] if (line["method"], line["step"]) == ("full", 1))
    table, test = seed.table("full", 1), seed.state.material.pools.test
    settings = seed.settings_of("full")
    fresh = ShardedLearner(
        tmp_path, settings.ensemble, settings.views, classes=10, input_shape=(8, 8, 1), seed=settings.seed
    )
    learned = fresh.learn(table.records, table.shard, table.slice)
    assert line["test_accuracy"] == np.mean(learned.ensemble.probabilities(test.images).argmax(1) == test.labels)
    assert (line["cost"], line["row_epochs"]) == (1.0, 3 * len(table.records))


def test_a_killed_comparison_goes_on_and_measures_nothing_twice(done, tmp_path, monkeypatch):
    directory, lines = done
    shutil.copytree(directory, tmp_path / "again")
    output = tmp_path / "again" / "lines.jsonl"
    whole = output.read_text().splitlines(keepends=True)
    output.write_text("".join(whole[:-1]) + whole[-1][:10])  # killed while it wrote
    assert without_time(compared(tmp_path / "again")) == without_time(lines)
    monkeypatch.setattr(forgetting.Seed, "learn", None)
    assert without_time(compared(tmp_path / "again")) == without_time(lines)


def test_lines_that_do_not_fit_are_refused(done, tmp_path):
    lines = done[1]
    files.append_json_line(tmp_path / "lines.jsonl", lines[0])
    with pytest.raises(UserError, match=r"the weights of step 0 are gone"):
        compared(tmp_path)
    with pytest.raises(UserError, match="another configuration"):
        compared(tmp_path, loop__iterations=3)
    files.append_json_line(tmp_path / "lines.jsonl", {**lines[0], "step": 2})
    with pytest.raises(UserError, match="steps of seed 3, full are missing"):
        compared(tmp_path)


def line_of(method, seed, step, accuracy, cost):
    measured = {"test_accuracy": accuracy, "cost": cost, "row_epochs": round(100 * cost), "seconds": 60.0}
    return {"method": method, "seed": seed, "step": step, **measured}


def test_the_summary_by_hand():
    full = [line_of("full", s, t, 0.5, 1.0) for s in (0, 1) for t in (0, 1, 2)]
    other = [
        line_of("forget", 0, 0, 0.1, 1.5),  # learning, no forgetting step
        line_of("forget", 0, 1, 0.49, 0.25),
        line_of("forget", 0, 2, 0.47, 0.75),
        line_of("forget", 1, 1, 0.51, 0.25),
        line_of("forget", 1, 2, 0.49, 1.25),
    ]
    reference, found = forgetting.summary([*full, *other])
    assert (reference["difference"], reference["mean_cost"], reference["steps"]) == (0, 1, 4)
    assert found["accuracy"] == pytest.approx(0.49)
    assert found["by_seed"] == pytest.approx({0: -0.02, 1: 0.0})
    assert found["by_step"] == pytest.approx({1: 0.0, 2: -0.02})
    assert found["difference"] == pytest.approx(-0.01)
    assert found["interval"] == pytest.approx(12.7062 * 0.01, rel=1e-4)  # t(0.975, 1) x sd / sqrt(2)
    assert found["worst"] == pytest.approx(-0.03)
    assert (found["first_cost"], found["mean_cost"], found["row_epochs"]) == (0.25, 0.625, 250)
    text = forgetting.table_of([found])[-1]
    assert "| -1.00 ± 12.71 | -2.00, +0.00 | -2.00 (2) | -3.00 | 0.250 | 0.625 | 250 | 4.0 |" in text


def test_without_full_retraining_there_is_no_difference():
    (found,) = forgetting.summary([line_of("sisa", 0, 1, 0.4, 1.0)])
    assert "difference" not in found
    assert "| 40.00 |  |  |  |  | 1.000 |" in forgetting.table_of([found])[-1]


# ---- audit: its cost beside the forward passes ---------------------------------------------------------


def test_the_audit_asks_each_row_once_and_once_a_view():
    line = audit.measure(rows=40, views=2, width=4, side=8)
    assert line["attacks"] == len(audit.ATTACKS)
    assert line["rows"] <= 40 + 40
    assert 0 < line["asked"] <= 3 * (40 + 40)
    assert line["asked"] % 3 == 0
    assert line["ratio"] == pytest.approx(line["audit_seconds"] / line["forward_seconds"])
    assert line["peak_gb"] > line["growth_gb"] >= 0


# ---- serving: what an export costs to ask ----------------------------------------------------------


@pytest.mark.slow
def test_an_ensemble_is_compared_with_one_member():
    rows = serving.measure(["imagenet"], [1, 3], k=2, width=2, side=8, seconds=0.01, threads=2)
    assert [(row["batch"], row["contender"]) for row in rows] == [
        (batch, name) for batch in (1, 3) for name in ("ResNet18", "ensemble of 2")
    ]
    assert all(row["ratio"] == 1 for row in rows[::2])
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows)
    assert [line.split(" | ")[2] for line in serving.table(rows)[2:4]] == ["ResNet18", "ensemble of 2"]


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_members_in_turn_and_as_groups_give_the_same_before_they_are_timed(stem):
    row = serving.grouped(stem, batch=3, k=2, width=4, side=16, seconds=0.01)
    assert row["ratio"] == row["grouped_ms"] / row["in_turn_ms"]
    assert serving.table([row])[0] == "| stem | pictures a request | in turn ms | grouped ms | ratio |"


# ---- overfitted: every attack on a model that knows its rows by heart ------------------------------------


@pytest.mark.slow
def test_attacks_on_an_overfitted_model_and_on_rows_that_pose_as_its_members(tmp_path):
    config = as_dict(load_preset("bench_digits"))
    config["bench"] |= {"rows": 200, "held_out": 100, "population": 100}
    config["training"] |= {"epochs": 30}
    result = overfitted.measure(overfitted.Overfitted(config, tmp_path, shards=3), rows=60)
    assert result["train_accuracy"] == 1
    assert {name: [row["attack"] for row in rows] for name, rows in result["audits"].items()} == {
        "members": list(overfitted.ATTACKS),
        "null": list(overfitted.ATTACKS),
        "shards": list(overfitted.OF_SHARDS),
        "true": list(overfitted.OF_SHARDS),
    }
    assert not [row["attack"] for row in result["audits"]["null"] if row["p_holm"] < 0.05]
    assert len(overfitted.table(result)) == 2 + 2 * len(overfitted.ATTACKS) + 2 * len(overfitted.OF_SHARDS)


@pytest.mark.slow
def test_a_model_that_has_not_learned_its_rows_by_heart_is_no_result(tmp_path):
    config = as_dict(load_preset("bench_digits"))
    config["bench"] |= {"rows": 200}
    config["training"] |= {"epochs": 1}
    with pytest.raises(UserError, match=r"training\.epochs=1: .* of the training rows are right, expected all"):
        overfitted.Overfitted(config, tmp_path, shards=3).target()


# ---- private classifier: what (epsilon, delta) leaves the attacks of Figure 12 ----------------------------


@pytest.mark.slow
def test_a_private_head_is_attacked_beside_one_without_noise(tmp_path):
    config, weights = as_dict(load_preset("digits")), tmp_path / "start.weights.h5"
    others = gather(Settings.from_config(config)).pools.auxiliary
    rows = Examples(np.asarray(others.images), others.labels, others.ids)
    start = build_resnet18((8, 8, 1), 10, "cifar", 8, seed=1)
    descend(start, lambda epoch: [learning(start, rows)], DescentSettings(epochs=15, learning_rate=0.05, batch=32), 0)
    save_weights(start, weights)
    config["ensemble"] |= {"initial": str(weights), "stem": "cifar", "width": 8}
    lines = private_classifier.trial(Settings.from_config(config), 0, (1.0, 0.0))
    private, plain = lines
    assert 0 < private["spent"]["epsilon"] <= 1
    assert plain["spent"] is None
    assert private["test_accuracy"] < plain["test_accuracy"]
    assert plain["test_accuracy"] > 0.6  # of ten classes, from features that the auxiliary rows trained
    assert all(row["ci_low"] < private["most_success"] for row in private["attacks"].values())
    text = private_classifier.table({"lines": lines})
    assert text[2].startswith("| 1 | ")
    assert text[2].endswith("| 73.1 % |")
    assert text[3].startswith("| no noise | ")
