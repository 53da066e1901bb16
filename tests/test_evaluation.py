"""A generator measured from its directory: the command, its file, and what a copying generator looks like in it."""

import dataclasses
import json

import numpy as np
import pytest

from tests.commands import command
from tests.loop_config import tiny_config
from tfpdu.common import UserError
from tfpdu.diffusion import fit_generator, load_generator
from tfpdu.ensemble import EnsembleSettings
from tfpdu.evaluation import Evaluation, evaluate_generator, training_rows
from tfpdu.material import gather
from tfpdu.settings import Settings

CLASSIFIER = EnsembleSettings(shards=1, stem="cifar", width=8, epochs=15, batch=32, learning_rate=0.05, threads=2)


@pytest.fixture(scope="module")
def settings():
    return Settings.from_config(tiny_config(draw__rows=200))


@pytest.fixture(scope="module")
def material(settings):
    return gather(settings)


@pytest.fixture(scope="module")
def generator(settings, material, tmp_path_factory):
    directory = tmp_path_factory.mktemp("generator")
    fit_generator(material.drawn, settings.generator, directory, 0)
    return load_generator(directory), directory


def test_training_rows_are_found_by_id(generator, material):
    rows = training_rows(generator[0], material)
    assert set(rows.ids) == set(material.drawn.ids)
    np.testing.assert_array_equal(rows.images, material.drawn.take(material.drawn.rows_of(rows.ids)).images)


@pytest.mark.slow
def test_copies_teach_as_much_as_the_rows_they_copy(generator, material, settings, monkeypatch):
    """A generator that hands out its training rows: CAS ratio about 1, copy ratio 1."""
    rows = {f"evaluation/3/{row_id}": i for i, row_id in enumerate(material.drawn.ids.tolist())}

    def copying(labels, attributes, keys):
        return material.drawn.images[[rows[key.removeprefix("gate/")] for key in keys]]

    monkeypatch.setattr(type(generator[0]), "for_specs", lambda self, specs: copying)
    found = evaluate_generator(generator[0], material, settings, Evaluation(200, (3,), CLASSIFIER))
    assert found["cas_ratio"] == pytest.approx(1, abs=0.25)
    assert found["cas_real"] > 0.3
    assert found["copy_ratio"] == 1
    assert found["copy_ratio_real"] < 0.05
    assert found["precision"] > 0.7
    assert found["seeds"][0]["memory"]["neighbours"]["share"] > 0.8


def test_means_are_those_of_the_seeds(generator, material, settings):
    quick = dataclasses.replace(CLASSIFIER, epochs=1)
    found = evaluate_generator(generator[0], material, settings, Evaluation(40, (0, 1), quick))
    assert found["samples"] == 40
    for key in ("cas", "cas_real", "kid", "precision", "recall", "copy_ratio"):
        assert found[key] == pytest.approx(np.mean([one[key] for one in found["seeds"]]))
    assert found["seeds"][0]["kid"] != found["seeds"][1]["kid"]
    assert set(found["realised"]) == {"parity"}
    assert "row_ids" not in found["generator"]
    json.dumps(found, allow_nan=False)


def evaluate(*arguments):
    return command("scripts/evaluate_generator.py", *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--generator"]),
        (["--generator=nowhere"], ["nowhere", "generator.json"]),
        (["--generator=nowhere", "--seeds=0,x"], ["--seeds=0,x"]),
    ],
)
def test_faulty_arguments_get_one_line(arguments, words):
    result = evaluate(*arguments)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert all(word in result.stderr for word in words)


def test_a_generator_of_other_rows_is_refused(generator, material):
    first = str(material.drawn.ids[0])
    pools = dataclasses.replace(material.pools, private=material.pools.private.without([first]))
    with pytest.raises(UserError, match=f"trained on row '{first}'"):
        training_rows(generator[0], dataclasses.replace(material, pools=pools))
