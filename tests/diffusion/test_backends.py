"""Only the compiled steps know a backend; training, files and samples agree between TensorFlow and JAX."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfpdu.diffusion
from tests.diffusion.conftest import TINY, toy_records
from tests.diffusion.steps import (
    ATTRIBUTES,
    KEYS,
    LABELS,
    SMALL,
    Stepper,
    evaluations,
    gradients,
    privacy,
    private_batch,
)
from tfpdu.common import UserError
from tfpdu.diffusion import fit_generator, load_generator, load_noisy_classifier
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.compiled import training_step
from tfpdu.diffusion.private_step import private_step

pytestmark = pytest.mark.slow  # a process with JAX, and one without TensorFlow

MODULES = sorted(Path(tfpdu.diffusion.__file__).parent.glob("*.py"))
TOP = Path(__file__).parents[2]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_the_compiled_steps_know_a_backend(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    backends = {name.split(".")[0] for name in imported} & {"tensorflow", "jax", "torch"}
    assert backends == ({"tensorflow", "jax"} if path.stem in ("compiled", "private_step") else set())


@pytest.fixture(scope="module")
def jax(trained, classifiers, tmp_path_factory):
    """(folder, what a process with JAX and without TensorFlow found), see `under_jax`."""
    folder = tmp_path_factory.mktemp("backends")
    (folder / "tensorflow").symlink_to(trained[1])
    (folder / "light").symlink_to(classifiers["light"][1])
    # Quick to compile, slow to run: what these networks are too small to notice.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.diffusion.under_jax", str(folder)]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "said.npz") as file:
        return folder, dict(file)


def test_jax_needs_no_tensorflow(jax):
    assert jax[1]["backend"] == "jax"
    assert not jax[1]["tensorflow_loaded"]


def test_jax_resumes_bit_for_bit(jax):
    assert jax[1]["resumed_equal"]
    assert jax[1]["private_resumed_equal"]


def test_jax_samples_do_not_depend_on_companions_or_old_weights(jax):
    assert jax[1]["companions_do_not_matter"]
    assert jax[1]["weights_are_seen"]


def test_weights_made_under_tensorflow_give_the_same_under_jax(jax, trained):
    np.testing.assert_allclose(jax[1]["given"], evaluations(trained[0]), atol=1e-4)
    differences = jax[1]["samples"].astype(int) - trained[0].sample(LABELS, ATTRIBUTES, KEYS)
    assert np.abs(differences).max() <= 1  # a value on the edge between two grey levels


def test_weights_made_under_jax_give_the_same_under_tensorflow(jax):
    made = load_generator(jax[0] / "jax")
    assert 0 < made.card["loss"] < 2
    np.testing.assert_allclose(evaluations(made), jax[1]["made"], atol=1e-4)
    assert np.abs(jax[1]["made"]).max() > 0.1


def test_classifiers_steer_alike_under_both(jax, trained, classifiers):
    light = classifiers["light"][0]
    assert np.abs(gradients(light)).max() > 0.01
    np.testing.assert_allclose(jax[1]["given_gradients"], gradients(light), atol=1e-4)
    made = load_noisy_classifier(jax[0] / "bar")
    assert 0 < made.card["loss"] < 1.2
    assert np.abs(jax[1]["made_gradients"]).max() > 0.01
    np.testing.assert_allclose(gradients(made), jax[1]["made_gradients"], atol=1e-4)
    asked = np.column_stack([ATTRIBUTES, LABELS])
    differences = jax[1]["steered"].astype(int) - trained[0].steered([light], 1.0).sample(LABELS, asked, KEYS)
    assert np.abs(differences).max() <= 1
    assert jax[1]["gradients_see_weights"]


def test_a_step_has_the_same_gradient_under_both(jax):
    gradient, said = Stepper(training_step).gradient(Batches(toy_records(), SMALL, 3).at(0))
    np.testing.assert_allclose(jax[1]["step"], said, rtol=1e-4)
    np.testing.assert_allclose(jax[1]["gradient"], gradient, atol=1e-5)


def test_a_private_step_has_the_same_noisy_gradient_under_both(jax):
    stepper = Stepper(lambda *state: private_step(*state, privacy(0.5, 0.1)))
    gradient, said = stepper.gradient(private_batch())
    np.testing.assert_allclose(jax[1]["private_step"], said, rtol=1e-4)
    np.testing.assert_allclose(jax[1]["private_gradient"], gradient, atol=1e-5)


def test_a_run_begun_on_another_backend_is_refused(trained, records, tmp_path):
    key = json.loads((trained[1] / "generator.json").read_text())["training_key"]
    np.savez(tmp_path / "checkpoint.npz", state=np.array(json.dumps({"key": key, "backend": "jax", "step": 3})))
    with pytest.raises(UserError, match="begun under KERAS_BACKEND=jax, now tensorflow"):
        fit_generator(records, TINY, tmp_path, seed=7)
