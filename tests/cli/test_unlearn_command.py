"""`tfpdu unlearn`: any Keras model forgets rows; its settings, its files, bad input in one line."""

import json
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from absl import flags

ROOT = Path(__file__).parents[2]


def unlearn(capsys, *arguments):
    """Exit code and both streams of the command, run in this process."""
    from tfpdu.cli import unlearn as command

    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS.get_flags_for_module(command):
        name.unparse()
    before = sys.argv
    sys.argv = ["tfpdu unlearn", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as end:
            command.main()
    finally:
        sys.argv = before
    streams = capsys.readouterr()
    return int(end.value.code or 0), streams.out, streams.err


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


def test_a_model_forgets_rows_and_the_new_one_and_what_was_done_are_written(folder, capsys):
    output = folder / "new.keras"
    chosen = ["--method=gradient_ascent", "--set=epochs=5", "--set=learning_rate=0.02"]
    code, out, err = unlearn(capsys, *words(folder), *chosen, "--pixels=0..1", f"--output={output}")
    assert code == 0, err
    assert out.splitlines()[-1] == str(output)
    card = json.loads(output.with_suffix(".json").read_text())
    assert card["guarantee"] == "none"
    assert card["rows"] == {"forget": 12, "retain": 78, "test": 90}
    assert card["settings"]["epochs"] == 5
    assert card["before"]["forget_accuracy"] == 1.0
    assert card["after"]["forget_accuracy"] < 0.5
    assert card["after"]["loss_auc"] < card["before"]["loss_auc"]
    images = np.load(folder / "forget.npz")["images"][:3] / np.float32(255)
    assert keras.models.load_model(output)(images).shape == (3, 3)
    refused, _, again = unlearn(capsys, *words(folder), f"--output={output}")
    assert refused == 2
    assert "is there already" in again


def test_settings_go_into_nested_ones_and_over_what_other_flags_say():
    from tfpdu.cli.unlearn import settings_of
    from tfpdu.unlearning.methods import METHODS, AttackSettings

    given = {"attack": AttackSettings(pixel_max=1.0)}
    made = settings_of(METHODS["amun"], ["attack.max_epsilon=20.48", "schedule=cosine", "epochs=3"], given)
    assert (made.attack.max_epsilon, made.attack.pixel_max, made.schedule, made.epochs) == (20.48, 1.0, "cosine", 3)


def test_settings_tells_a_methods_settings_and_its_source(capsys):
    code, out, _ = unlearn(capsys, "--method=scrub", "--settings")
    assert code == 0
    assert "--set=temperature=4.0" in out
    assert "Kurmanji" in out


@pytest.mark.parametrize(
    ("changes", "more", "line"),
    [
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
    ],
)
def test_bad_input_ends_with_2_and_one_line_and_writes_nothing(folder, capsys, changes, more, line):
    output = folder / "never.keras"
    code, _, err = unlearn(capsys, *words(folder, **changes), f"--output={output}", *more)
    assert code == 2, err
    assert line in err
    assert err.count("\n") == 1
    assert not output.exists()


def test_the_script_is_a_door_to_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scripts/unlearn.py", "--helpshort"])
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / "scripts/unlearn.py"))
    assert not end.value.code
    assert "--forget: rows to forget" in capsys.readouterr().out
