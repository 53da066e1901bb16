import dataclasses

import numpy as np
import pytest

from tests.debiasing.tables import build, config, material, no_source, rows, study
from tfpdu.bias import uniform_prior
from tfpdu.common import UserError
from tfpdu.common.cells import Cells
from tfpdu.common.errors import StopRequested
from tfpdu.common.interrupt import deferred, request
from tfpdu.debiasing import PLAIN, Comparison, Study, StudySettings
from tfpdu.debiasing.methods import cells, plain_lesson
from tfpdu.debiasing.training import Course
from tfpdu.settings import Settings

STUDY = study()
METHODS = ("none", "group_dro", "diffusion")


def timeless(lines):
    return [{key: value for key, value in line.items() if key != "cell_seconds"} for line in lines]


def comparison(directory, methods=METHODS, seeds=(0,)):
    settings = StudySettings(methods=methods, seeds=seeds)
    return Comparison(STUDY, settings, Cells(directory / "cells"), no_source(directory))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    done = comparison(tmp_path_factory.mktemp("whole"))
    done.run()
    return done


def test_every_cell_is_measured_and_one_without_a_generator_says_why(finished):
    lines = finished.results()
    assert [line["arm"] for line in lines] == list(METHODS)
    assert all("no generator" in line["skipped"] for line in lines if line["arm"] == "diffusion")
    for line in lines:
        if line["arm"] != "diffusion":
            assert set(line["groups"]) == {"dark", "light"}
            assert len(line["cells"]) == 4
            worst = min(group["value"] for group in line["groups"].values())
            assert line["measures"]["worst_group_accuracy"]["value"] == pytest.approx(worst)


def test_a_stopped_comparison_goes_on_and_ends_alike(finished, tmp_path):
    stopped = comparison(tmp_path)
    with deferred():
        request("SIGTERM")
        with pytest.raises(StopRequested):
            stopped.run()
    assert not stopped.results()
    comparison(tmp_path, methods=("none",)).run()
    again = comparison(tmp_path)
    again.run()
    assert timeless(again.results()) == timeless(finished.results())


def test_what_was_skipped_is_tried_again_once_there_is_a_generator(finished, tmp_path, monkeypatch):
    again = comparison(tmp_path, methods=("diffusion",))
    again.run()
    assert "skipped" in again.results()[1]
    monkeypatch.setattr(again.source, "debiased", lambda: STUDY.records)
    again.run()
    none, diffusion = again.results()
    assert diffusion["measures"] == none["measures"]  # of the same rows


def test_a_model_that_knows_its_rows_by_heart_gives_them_away_group_by_group():
    model = build(0)
    fresh = STUDY.membership(model, STUDY.records)
    assert set(fresh) == {"dark", "light"}
    assert (fresh["dark"]["n"], fresh["light"]["n"]) == (64, 16)
    ensemble = dataclasses.replace(STUDY.settings.ensemble, learning_rate=0.1, epochs=60)
    lesson = plain_lesson("oversample", STUDY.records, STUDY.prior, STUDY.settings.augment, 0, 0.01)
    dataclasses.replace(STUDY.course, ensemble=ensemble).train(model, lesson, 0)
    learned = STUDY.membership(model, lesson.rows)  # copies are no rows of their own
    assert learned["light"]["n"] == 16
    assert learned["light"]["value"] > fresh["light"]["value"]
    assert STUDY.membership(model, STUDY.records.take(np.arange(0))) == {}


def test_a_signal_ends_a_training_between_two_steps():
    lesson = plain_lesson("none", STUDY.records, STUDY.prior, STUDY.settings.augment, 0, 0.01)
    with deferred():
        request("SIGTERM")
        with pytest.raises(StopRequested):
            STUDY.learn(lesson, 0)


def test_every_method_takes_the_same_steps_from_the_same_weights(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "tfpdu.debiasing.training.descend",
        lambda model, plan, settings, seed: seen.update(
            {name: (settings.epochs, [len(plan(n)[0].rows) for n in range(settings.epochs)], model.get_weights())}
        ),
    )
    for name in PLAIN:
        STUDY.learn(plain_lesson(name, STUDY.records, STUDY.prior, STUDY.settings.augment, 0, 0.01), 3)
    steps, sizes, weights = seen["none"]
    assert steps == len(sizes) == 3 * 5
    for other, its_sizes, its_weights in seen.values():
        assert (other, set(its_sizes)) == (steps, {16})
        assert all(np.array_equal(a, b) for a, b in zip(weights, its_weights, strict=True))


def test_the_rates_are_those_of_the_ensemble():
    from tfpdu.ensemble.trainer import learning_rate

    ensemble = STUDY.settings.ensemble
    course = Course(ensemble, STUDY.settings.views, 80)
    assert (course.steps, course.batch) == (15, 16)
    model = build(0)
    before = model.get_weights()
    flat = dataclasses.replace(course, ensemble=dataclasses.replace(ensemble, learning_rate=1e-30))
    lesson = plain_lesson("none", STUDY.records, STUDY.prior, STUDY.settings.augment, 0, 0.01)
    flat.train(model, lesson, 0)
    assert all(np.allclose(a, b, atol=1e-12) for a, b in zip(before, model.get_weights(), strict=True))
    assert learning_rate(ensemble, 14, 15) > 0


def test_reweighing_and_copying_bring_groups_to_the_prior():
    augment = STUDY.settings.augment
    tone = {}
    for name in ("oversample", "undersample", "reweigh"):
        lesson = plain_lesson(name, STUDY.records, STUDY.prior, augment, 0, 0.01)
        light = lesson.rows.column("tone") == 1
        tone[name] = lesson.column[light].sum() / lesson.column.sum()
    assert tone == pytest.approx({"oversample": 0.5, "undersample": 0.5, "reweigh": 0.5})


def test_groups_of_balanced_sampling_are_cells_of_class_and_attribute():
    records = rows(20, "few")
    table = dataclasses.replace(records, attributes=np.where(np.arange(20)[:, None] == 3, -1, records.attributes))
    found = cells(table, uniform_prior(records, ["tone"]))
    assert found[3] == -1
    pairs = {(int(g), int(c), int(t)) for g, c, t in zip(found, table.labels, table.column("tone"), strict=True)}
    assert len(pairs - {(-1, 1, -1)}) == 4  # one code a pair
    assert sorted(set(found.tolist())) == [-1, 0, 1, 2, 3]


def test_a_prior_without_attribute_and_an_unknown_method_are_refused():
    whole = material()
    settings = Settings.from_config(config())
    with pytest.raises(UserError, match="expected an attribute"):
        Study(settings, dataclasses.replace(whole, prior=uniform_prior(whole.drawn, ["label"])), build)
    with pytest.raises(UserError, match="group_dro"):
        StudySettings(methods=("group_dr",))
    with pytest.raises(UserError, match="seeds"):
        StudySettings(seeds=(1, 1))
