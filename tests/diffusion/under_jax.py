"""Run as a program, with KERAS_BACKEND=jax: what the generator does on a machine without TensorFlow.

    python -m tests.diffusion.under_jax FOLDER

FOLDER/tensorflow holds a generator and FOLDER/light a noise-aware classifier, made under TensorFlow. It writes
FOLDER/jax (a generator), FOLDER/bar (a classifier) and FOLDER/said.npz.
"""

# ruff: noqa: E402 (the hook comes before all imports)

import dataclasses
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")
warnings.simplefilter("ignore", DeprecationWarning)


class NoTensorFlow:
    """An import hook under which TensorFlow is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_privacy"):
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, NoTensorFlow())

import keras
import numpy as np

from tests.diffusion.conftest import TINY_CLASSIFIER, renamed_records, toy_records
from tests.diffusion.steps import (
    ATTRIBUTES,
    KEYS,
    LABELS,
    PRIVATE,
    SMALL,
    Stepper,
    evaluations,
    gradients,
    privacy,
    private_batch,
)
from tfpdu.common.files import weights_hash
from tfpdu.diffusion import fit_generator, fit_noisy_classifier, load_generator, load_noisy_classifier
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.compiled import training_step
from tfpdu.diffusion.poisson import PoissonBatches
from tfpdu.diffusion.private_step import private_step


class Killed(BaseException):
    """Stands for a power cut."""


def interrupted_fit(kind, settings, directory, at):
    """Trains up to the batch of step `at`, dies, and trains again to the end."""
    whole = kind.at

    def until(self, step):
        if step == at:
            raise Killed
        return whole(self, step)

    kind.at = until
    try:
        fit_generator(toy_records(), settings, directory, seed=7)
        raise AssertionError("the training was not interrupted")
    except Killed:
        kind.at = whole
    return fit_generator(toy_records(), settings, directory, seed=7)


def main(folder):
    said = {}
    records, batch = toy_records(), Batches(toy_records(), SMALL, 3).at(0)
    whole = fit_generator(records, SMALL, folder / "jax", seed=7)
    resumed = interrupted_fit(Batches, SMALL, folder / "resumed", at=9)
    said["resumed_equal"] = weights_hash(whole.network) == weights_hash(resumed.network)

    given = load_generator(folder / "tensorflow")
    said["given"] = evaluations(given)
    said["made"] = evaluations(load_generator(folder / "jax"))
    images = given.sample(LABELS, ATTRIBUTES, KEYS)
    said["samples"] = images
    said["companions_do_not_matter"] = np.array_equal(
        given.sample(LABELS[3:5], ATTRIBUTES[3:5], KEYS[3:5]), images[3:5]
    )

    light = load_noisy_classifier(folder / "light")
    few = dataclasses.replace(TINY_CLASSIFIER, images=512)
    made = fit_noisy_classifier(renamed_records(), "bar", few, folder / "bar", seed=5)
    said["given_gradients"], said["made_gradients"] = gradients(light), gradients(made)
    said["steered"] = given.steered([light], 1.0).sample(LABELS, np.column_stack([ATTRIBUTES, LABELS]), KEYS)
    light.network.set_weights([weight * 0 for weight in light.network.get_weights()])
    said["gradients_see_weights"] = not gradients(light).any()

    weights = given.network.get_weights()
    given.network.set_weights([weight * 0 for weight in weights])  # compiled code must see new weights
    said["weights_are_seen"] = not np.array_equal(given.sample(LABELS, ATTRIBUTES, KEYS), images)

    said["gradient"], said["step"] = Stepper(training_step).gradient(batch)
    stepper = Stepper(lambda *state: private_step(*state, privacy(0.5, 0.1)))
    said["private_gradient"], said["private_step"] = stepper.gradient(private_batch())

    for name in ("private", "private_resumed"):
        (folder / name).mkdir()
        (folder / name / "noise.key").write_text("secret")
    private = fit_generator(records, PRIVATE, folder / "private", seed=7)
    resumed = interrupted_fit(PoissonBatches, PRIVATE, folder / "private_resumed", at=6)
    said["private_resumed_equal"] = weights_hash(private.network) == weights_hash(resumed.network)
    said["backend"] = keras.backend.backend()
    said["tensorflow_loaded"] = any(name.split(".")[0] == "tensorflow" for name in sys.modules)
    np.savez(folder / "said.npz", **{name: np.asarray(value) for name, value in said.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
