"""`tfpdu unlearn`: any Keras model forgets rows; its settings, its files, bad input in one line."""

import json

import keras
import numpy as np
import pytest

from tests.commands import command

WRONG = [
    ({"forget": ""}, [], "--forget: expected one"),
    ({"model": ""}, [], "--model: expected one"),
    ({"retain": ""}, ["--method=fine_tune"], "needs retained rows"),
    ({"retain": "all.npz"}, [], "has the very pixels of a row to forget (12 such)"),
    ({}, ["--method=amum"], "did you mean 'amun'"),
    ({}, ["--set=epoch=3"], "did you mean 'epochs'"),
    ({}, ["--set=epochs=-3"], "epochs: expected a number above 0"),
    ({}, ["--set=epochs"], "expected name=value"),
    ({}, ["--set=attack.steps=0"], "steps: expected a number above 0"),
    ({"model": "forget.npz"}, [], "not a Keras model"),
    ({"forget": "nowhere.npz"}, [], "no such"),
]


def unlearn(*words):
    return command("tfpdu", "unlearn", *words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that knows its 90 rows by heart, and the rows: to forget (of one class), to retain, and others."""
    folder = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (180, 6, 6, 1), np.uint8), rng.integers(0, 3, 180)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images[:90] / 255.0, labels[:90], epochs=80, batch_size=90, verbose=0)
    model.save(folder / "my.keras")
    gone = np.zeros(180, bool)
    gone[np.flatnonzero(labels[:90] == 1)[:12]] = True
    known = np.arange(180) < 90
    for name, chosen in (("forget", gone), ("retain", known & ~gone), ("test", ~known), ("all", known)):
        np.savez(folder / f"{name}.npz", images=images[chosen], labels=labels[chosen])
    return folder


def words(folder, **changes):
    flags_ = {"model": "my.keras", "forget": "forget.npz", "retain": "retain.npz", "test": "test.npz"}
    given = {name: folder / file for name, file in {**flags_, **changes}.items() if file}
    return [f"--{name}={path}" for name, path in given.items()]


@pytest.fixture(scope="module")
def done(folder):
    """What the command says to all that is asked of it here."""
    output = f"--output={folder / 'new.keras'}"
    chosen = ["--method=gradient_ascent", "--set=epochs=5", "--set=learning_rate=0.02", "--pixels=0..1", output]
    never = f"--output={folder / 'never.keras'}"
    wrong = [[*words(folder, **changes), never, *more] for changes, more, _ in WRONG]
    nested = ["--set=attack.max_epsilon=20.48", "--set=schedule=cosine", f"--output={folder / 'amun.keras'}"]
    amun = [*words(folder), "--method=amun", *nested, "--set=epochs=3", "--pixels=0..1"]
    commands = {"forgets": [*words(folder), *chosen], "again": [*words(folder), *chosen], "amun": amun}
    commands |= {"settings": ["--method=scrub", "--settings"], **dict(enumerate(wrong))}
    return {key: unlearn(*given) for key, given in commands.items()}


def test_a_model_forgets_rows_and_the_new_one_and_what_was_done_are_written(folder, done):
    output = folder / "new.keras"
    assert done["forgets"].returncode == 0, done["forgets"].stderr
    assert done["forgets"].stdout.splitlines()[-1] == str(output)
    card = json.loads(output.with_suffix(".json").read_text())
    assert card["guarantee"] == "none"
    assert card["rows"] == {"forget": 12, "retain": 78, "test": 90}
    assert card["settings"]["epochs"] == 5
    assert card["before"]["forget_accuracy"] == 1.0
    assert card["after"]["forget_accuracy"] < 0.5
    assert card["after"]["loss_auc"] < card["before"]["loss_auc"]
    images = np.load(folder / "forget.npz")["images"][:3] / np.float32(255)
    assert keras.models.load_model(output)(images).shape == (3, 3)


def test_a_file_that_is_there_is_not_written_over(done):
    assert done["again"].returncode == 2
    assert "is there already" in done["again"].stderr


def test_settings_go_into_nested_ones_and_over_what_other_flags_say(folder, done):
    assert done["amun"].returncode == 0, done["amun"].stderr
    settings = json.loads((folder / "amun.json").read_text())["settings"]
    assert (settings["schedule"], settings["epochs"]) == ("cosine", 3)
    assert (settings["attack"]["max_epsilon"], settings["attack"]["pixel_max"]) == (20.48, 1.0)


def test_settings_tells_a_methods_settings_and_its_source(done):
    assert done["settings"].returncode == 0
    assert "--set=temperature=4.0" in done["settings"].stdout
    assert "Kurmanji" in done["settings"].stdout


@pytest.mark.parametrize("case", range(len(WRONG)), ids=[line for _, _, line in WRONG])
def test_bad_input_ends_with_2_and_one_line_and_writes_nothing(folder, done, case):
    assert done[case].returncode == 2, done[case].stderr
    assert WRONG[case][2] in done[case].stderr
    assert done[case].stderr.count("\n") == 1
    assert not (folder / "never.keras").exists()
