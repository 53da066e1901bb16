"""Small tables for the studies' tests: pictures of a bar on the left or right, in a common or a rare tone."""

import keras
import numpy as np

from tests.loop_config import tiny_config
from tfpdu.bias import uniform_prior
from tfpdu.data import AttributeSpec, Pools, Records
from tfpdu.debiasing import Source, Study
from tfpdu.ensemble.networks import leaves
from tfpdu.material import Material
from tfpdu.settings import Settings
from tfpdu.unlearning.methods.network import initialise

CLASSES = ("left", "right")


def rows(n: int, name: str, rare: int = 5) -> Records:
    """n rows, classes in turn; every `rare`-th row has the rare tone, in which the bar is fainter."""
    generator = np.random.default_rng(len(name) + n)
    labels = (np.arange(n) % 2).astype(np.int32)
    light = np.arange(n) % rare == 0
    images = generator.integers(0, 160, (n, 8, 8, 1))
    for image, place, faint in zip(images, labels, light, strict=True):
        image[:, 4 * place : 4 * place + 4] += 25 if faint else 60
    return Records(
        images=images.astype(np.uint8),
        labels=labels,
        attributes=light[:, None].astype(np.int8),
        ids=np.array([f"{name}{i:03d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tone", ("dark", "light")),),
        label_names=CLASSES,
    )


def build(seed: int) -> keras.Model:
    """An untrained model."""
    layers = keras.layers
    parts = [layers.Rescaling(1 / 128, -1), layers.Flatten(), layers.Dense(8, "relu"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts])
    initialise(leaves(model), seed)
    return model


def config() -> dict:
    changes = {"ensemble__epochs": 3, "ensemble__batch": 16, "views__shift": 0, "prior__over": (("tone",),)}
    return tiny_config(**changes)


def material(n: int = 80) -> Material:
    drawn = rows(n, "train")
    nothing = np.zeros(n, np.int32)
    empty = drawn.take(np.arange(0))
    pools = Pools(drawn, empty, rows(30, "stranger", 3), rows(40, "aux", 3), empty, rows(60, "test", 3))
    return Material(pools, drawn, uniform_prior(drawn, ["tone"]), nothing, nothing, nothing, empty)


def study() -> Study:
    return Study(Settings.from_config(config()), material(), build)


def no_source(directory) -> Source:
    return Source("", config(), material(), directory)
