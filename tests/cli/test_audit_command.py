"""`scripts/audit.py`: a Keras model or bare answers; table, JSON, CSV, page, gate; bad input in one line."""

import csv
import json
import re

import keras
import numpy as np
import pytest

from tests.audit.test_answer_file import sides
from tests.commands import command


def audit(*arguments, cwd):
    return command("scripts/audit.py", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that knows its 120 members by heart, pictures of both sides, answers, and an attack of one's own."""
    folder = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (240, 6, 6, 1), np.uint8), rng.integers(0, 3, 240)
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(64, "relu"), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images[:120] / 255.0, labels[:120], epochs=80, batch_size=120, verbose=0)
    model.save(folder / "my.keras")
    np.savez(folder / "train.npz", images=images[:120], labels=labels[:120])
    np.savez(folder / "held_out.npz", images=images[120:], labels=labels[120:])
    np.savez(folder / "both.npz", images=images[119:], labels=labels[119:])
    np.savez(folder / "large.npz", images=np.zeros((40, 9, 9, 1), np.uint8), labels=np.arange(40) % 3)
    np.savez(folder / "answers.npz", **sides(views=2, n=150))
    (folder / "mine.py").write_text(
        "class Confidence:\n"
        "    name = 'sure'\n"
        "    def fit(self, members, nonmembers, seed): pass\n"
        "    def score(self, signals): return signals.probabilities.max(axis=1)\n"
    )
    return folder


@pytest.fixture(scope="module")
def done(folder):
    words = ["--model=my.keras", "--members=train.npz", "--nonmembers=held_out.npz", "--pixels=0..1", "--shift=1"]
    own = ["--attack=mine:Confidence", "--slices=correct", "--output=audit.json"]
    gates = ["--fail_if=m_loss.ci_low>0.55", "--fail_if=blind.auc_ci_low>0.9"]
    return audit(*words, *own, *gates, cwd=folder)


def test_a_fired_gate_ends_with_3_after_everything_is_written(folder, done):
    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[-3:] == ["audit.json", "audit.csv", "audit.html"]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("tfpdu: --fail_if: m_loss.ci_low is 0.")
    assert "blind" not in last


def test_table_json_csv_and_page_say_the_same(folder, done):
    rows = json.loads((folder / "audit.json").read_text())
    (loss,) = [r for r in rows if r["attack"] == "m_loss" and "slice" not in r]
    assert loss["auc"] > 0.8
    line = next(line for line in done.stdout.splitlines() if line.startswith("  M-Loss"))
    assert f"{loss['auc']:.3f} (" in line
    assert "unresolvable" in line
    assert line.endswith("leak")
    assert float(re.search(r"accuracy on members: ([0-9.]+)%", done.stdout).group(1)) > 95
    with open(folder / "audit.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    assert [float(line["auc"]) for line in table] == [row["auc"] for row in rows]
    assert {"sure", "blind", "moments"} <= {row["attack"] for row in rows}
    assert f'value="{loss["auc"]!r}"' in (folder / "audit.html").read_text(encoding="utf-8")


def test_bare_answers_are_audited_without_a_model(folder):
    result = audit("--logits=answers.npz", "--attacks=m_loss,m_mean", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "2 views each" in result.stdout
    assert "M-Mean" in result.stdout


def test_a_dry_run_counts_queries_and_attacks_nothing(folder):
    words = ["--model=my.keras", "--members=train.npz", "--nonmembers=held_out.npz", "--shift=1", "--views=3"]
    result = audit(*words, "--rows=20", "--dry_run", "--output=dry.json", cwd=folder)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines["rows"].startswith("80, ")
    assert lines["queries"].startswith("320 ")
    assert lines["time"].startswith("about ")
    assert float(lines["memory"].split()[1]) > 0
    assert not (folder / "dry.json").exists()


MODEL = ["--model=my.keras", "--members=train.npz"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--workdir", "--model", "--logits", "none"]),
        ([*MODEL, "--nonmembers=both.npz"], ["--nonmembers", "very pixels of a member (1 such)", "--drop_shared"]),
        ([*MODEL, "--nonmembers=large.npz"], ["9x9x1", "6x6x1"]),
        (["--logits=answers.npz", "--attacks=lira_offline"], ["lira_offline", "references"]),
        (["--logits=answers.npz", "--fail_if=m_los.auc>0.5"], ["m_loss.auc"]),
        (["--logits=answers.npz", "--fail_if=m_loss.tpr_at_0.001>0.5"], ["cannot be decided"]),
        (["--probabilities=answers.npz"], ["are these logits"]),
        (["--workdir=."], ["--workdir=.", "config.json"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(folder, arguments, words):
    result = audit(*arguments, cwd=folder)
    assert result.returncode == 2, result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("tfpdu: ")]) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr.splitlines()[-1]


def test_shared_pictures_are_left_out_where_that_is_asked_for(folder):
    words = [*MODEL, "--nonmembers=both.npz", "--drop_shared", "--attacks=m_loss", "--pixels=0..1", "--shift=1"]
    result = audit(*words, "--views=1", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "1 non-members have the very pixels of members; both are left out" in result.stderr
