import dataclasses
import json

import numpy as np
import pytest

from tests.unlearning.benchmark.tables import settings, tables
from tfpdu.common import UserError
from tfpdu.common.errors import StopRequested
from tfpdu.common.interrupt import deferred, request
from tfpdu.unlearning.benchmark import Benchmark
from tfpdu.unlearning.benchmark.recipes import recipe
from tfpdu.unlearning.benchmark.tuning import Tuning, rehearsal
from tfpdu.unlearning.methods import build_adversaries

TABLES = tables()
TIMES = ("seconds", "cell_seconds", "time_ratio")


def timeless(lines):
    """What of the results has to be the same each time."""
    text = json.dumps(lines)
    return json.loads(text, object_hook=lambda part: {k: v for k, v in part.items() if k not in TIMES})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A benchmark of two methods that went through in one go."""
    benchmark = Benchmark(settings(methods=("fine_tune", "gradient_ascent")), TABLES, tmp_path_factory.mktemp("whole"))
    benchmark.run()
    return benchmark


def test_every_method_is_measured_beside_the_original_and_the_retrained_model(finished):
    lines = {line["method"]: line for line in finished.results()}
    assert list(lines) == ["original", "retrain", "fine_tune", "gradient_ascent"]
    assert lines["original"]["forget_accuracy"] == 1.0  # it knows the rows
    assert lines["original"]["ft_auc"] > lines["retrain"]["ft_auc"]
    for method in ("fine_tune", "gradient_ascent"):
        parts = [
            lines[method][f"gap_{key}"] for key in ("forget_accuracy", "retain_accuracy", "test_accuracy", "ft_auc")
        ]
        assert lines[method]["average_gap"] == pytest.approx(np.mean(parts))


@pytest.mark.slow
def test_one_that_was_stopped_goes_on_and_ends_alike(finished, tmp_path):
    stopped = Benchmark(finished.settings, TABLES, tmp_path)
    with deferred():
        request("SIGTERM")
        with pytest.raises(StopRequested):
            stopped.run()
    assert not stopped.results()
    again = Benchmark(dataclasses.replace(finished.settings, methods=("fine_tune",)), TABLES, tmp_path)
    again.run()
    Benchmark(finished.settings, TABLES, tmp_path).run()  # a method more: only its cell is new
    assert timeless(stopped.results()) == timeless(finished.results())


def test_cells_of_another_machine_are_done_and_references_are_made_again_where_methods_are_left(finished, tmp_path):
    lines = finished.results()
    whole = Benchmark(finished.settings, TABLES, tmp_path / "whole")
    whole.adopt(lines)
    assert whole.results() == lines
    part = Benchmark(finished.settings, TABLES, tmp_path / "part")
    part.adopt(lines[:3])  # gradient ascent is left, and compared with logits that no line holds
    assert [line["method"] for line in part.results()] == ["fine_tune"]
    part.run()
    assert timeless(part.results()) == timeless(lines)


def test_cells_that_the_results_would_lose_are_refused(finished, tmp_path):
    fewer = Benchmark(dataclasses.replace(finished.settings, methods=("fine_tune",)), TABLES, tmp_path)
    with pytest.raises(UserError, match=r"gradient_ascent on random:0.2 with seed 0 is left out"):
        fewer.adopt(finished.results())


def test_logits_of_the_original_and_of_the_reference_are_kept_with_ids(finished):
    kept = np.load(finished.directory / "answers" / "random_0.2" / "seed-0" / "retrain-1.npz")
    assert kept["train_logits"].shape == (60, 3)
    assert kept["forget"].sum() == 12
    assert kept["train_ids"].tolist() == TABLES.train.ids.tolist()
    right = (kept["test_logits"].argmax(1) == TABLES.test.labels).mean()
    reference = next(line for line in finished.results() if line["method"] == "retrain")
    assert right == reference["test_accuracy"]


@pytest.mark.slow
def test_requests_that_follow_each_other_are_measured_after_each(tmp_path):
    benchmark = Benchmark(settings(scenarios=("successive:2x0.1",)), TABLES, tmp_path)
    benchmark.run()
    lines = {line["method"]: line for line in benchmark.results()}
    assert [len(line["steps"]) for line in lines.values()] == [2, 2, 2]
    assert lines["fine_tune"]["test_accuracy"] == lines["fine_tune"]["steps"][-1]["test_accuracy"]


@pytest.mark.slow
def test_a_method_that_needs_retained_rows_is_skipped_where_there_are_none(tmp_path):
    benchmark = Benchmark(
        settings(scenarios=("no_retain:0.1",), methods=("fine_tune", "gradient_ascent")), TABLES, tmp_path
    )
    benchmark.run()
    lines = {line["method"]: line for line in benchmark.results()}
    assert "needs retained rows" in lines["fine_tune"]["skipped"]
    assert "skipped" not in lines["retrain"]
    assert "average_gap" in lines["gradient_ascent"]


@pytest.mark.slow
def test_sharded_unlearning_equals_a_committee_that_never_saw_the_rows(tmp_path):
    from tfpdu.unlearning.benchmark.models import examples
    from tfpdu.unlearning.benchmark.sharded import SHARDED, learn_shards

    own = settings(methods=("sharded",), recipes={"sharded": {"shards": 3}})
    benchmark = Benchmark(own, TABLES, tmp_path)
    options = dataclasses.replace(recipe("sharded", "random:0.2", own), build=benchmark.models.build)
    rows, forget = examples(TABLES.train), np.arange(60) < 4
    committee = learn_shards(rows, options, 0)
    unlearned = SHARDED.unlearn(committee, rows.take(forget), rows.take(~forget), options, 0)
    fresh = learn_shards(rows.take(~forget), options, 0)
    for one, other in zip(unlearned.get_weights(), fresh.get_weights(), strict=True):
        assert np.array_equal(one, other)
    images = np.asarray(rows.images[:5], np.float32)
    shares = np.mean([_softmax(np.asarray(member(images))) for member in fresh.members], axis=0)
    assert np.allclose(_softmax(np.asarray(fresh(images))), shares, atol=1e-6)


def _softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_a_rehearsal_has_nothing_of_what_the_benchmark_forgets(tmp_path):
    from tfpdu.unlearning.benchmark import Scenario

    for name in ("random:0.2", "class:left", "successive:2x0.1"):
        scenario = Scenario.parse(name)
        task = scenario.task(TABLES.train, 0)
        mock = rehearsal(scenario, task, TABLES.train, 0)
        assert mock.forget.any()
        assert not (mock.forget & task.forget).any()
    assert mock.forget.sum() == task.forget.sum()


def test_tuning_tries_the_recipe_first_is_resumed_and_picks_the_smallest_gap(tmp_path):
    benchmark = Benchmark(settings(methods=("fine_tune", "retrain")), TABLES, tmp_path)
    tuning = Tuning(benchmark, 3, seed=1)
    assert [method for method, _ in tuning.pairs()] == ["fine_tune"]  # there is nothing to tune about retraining
    tuning.run()
    trials = [json.loads(p.read_text()) for p in sorted((tmp_path / "tuning").rglob("*.json"))]
    assert [trial["settings"] == {} for trial in trials] == [True, False, False]
    best = min(trials, key=lambda trial: trial["gap"])
    assert tuning.best() == {"fine_tune@random:0.2": best["settings"]}
    before = [p.stat().st_mtime_ns for p in sorted((tmp_path / "tuning").rglob("*.json"))]
    Tuning(benchmark, 3, seed=1).run()
    elsewhere = Tuning(Benchmark(benchmark.settings, TABLES, tmp_path / "elsewhere"), 3, seed=1)
    elsewhere.adopt(tuning.results())
    assert elsewhere.results() == tuning.results()
    with pytest.raises(UserError, match=r"trials: fine_tune on random:0.2 with .* is left out"):
        Tuning(Benchmark(benchmark.settings, TABLES, tmp_path / "fewer"), 2, seed=1).adopt(tuning.results())
    assert before == [p.stat().st_mtime_ns for p in sorted((tmp_path / "tuning").rglob("*.json"))]
    assert not (tmp_path / "cells").exists()  # no retrained model was looked at


def test_tuning_makes_adversarial_pictures_once_for_all_trials(tmp_path, monkeypatch):
    made = []

    def counted(model, rows, attack):
        made.append(len(rows))
        return build_adversaries(model, rows, attack)

    monkeypatch.setattr("tfpdu.unlearning.benchmark.tuning.build_adversaries", counted)
    recipes = {name: {"attack": {"steps": 3}, "epochs": 1} for name in ("amun", "zero_shot")}
    tuning = Tuning(Benchmark(settings(methods=("amun", "zero_shot"), recipes=recipes), TABLES, tmp_path), 2, seed=1)
    tuning.run()
    assert len(made) == 1
    assert len(tuning.results()) == 4
    assert all(trial["gap"] is not None for trial in tuning.results())


def test_recipes_are_laid_over_defaults_the_one_of_the_scenario_last():
    own = settings(recipes={"fine_tune": {"epochs": 3, "batch": 7}, "fine_tune@random:0.2": {"epochs": 4}})
    made = recipe("fine_tune", "random:0.2", own)
    assert (made.epochs, made.batch, made.views) == (4, 7, own.views)
    assert recipe("fine_tune", "class:left", own).epochs == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ("fine_tun",)}, "did you mean 'fine_tune'"),
        ({"methods": ()}, "methods: expected at least one"),
        ({"seeds": (0, 0)}, "each once"),
        ({"references": 3}, "expected an even number"),
        ({"recipes": {"fine_tune": {"epoch": 3}}}, "did you mean 'epochs'"),
        ({"recipes": {"fine_tune": {"epochs": -1}}}, "recipes.fine_tune.epochs"),
        ({"recipes": {"salum": {"epochs": 1}}}, "recipes: unknown 'salum', did you mean 'salun'"),
        ({"recipes": {"salun": {"epoch": 1}}}, "recipes.salun: no setting 'epoch'"),
        ({"scenarios": ("worst:0.1",), "references": 0}, "needs reference models"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(changes, words):
    with pytest.raises(UserError, match=words):
        settings(**changes)


def test_recipes_of_methods_that_are_left_out_do_no_harm():
    assert "salun" not in settings(recipes={"salun": {"epochs": 1}}).methods


def test_the_reference_is_retrained_again_with_another_seed(tmp_path):
    benchmark = Benchmark(settings(methods=("retrain_again",), scenarios=("no_retain:0.2",)), TABLES, tmp_path)
    benchmark.run()
    lines = {line["method"]: line for line in benchmark.results()}
    assert list(lines) == ["original", "retrain", "retrain_again"]
    assert lines["retrain_again"]["distance_test"] > 0  # not the same model
    assert lines["retrain_again"]["forget_accuracy"] < lines["original"]["forget_accuracy"]
