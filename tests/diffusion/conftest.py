"""A small data set whose classes and attributes a tiny network can learn, and a generator trained on it briefly."""

import dataclasses

import numpy as np
import pytest

from tfpdu.common.seeds import rng
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.diffusion import GeneratorSettings, NoisyClassifierSettings, fit_generator, fit_noisy_classifier

SPECS = (AttributeSpec("tone", ("dark", "bright")), AttributeSpec("side", ("left", "right", "none")))


def toy_records(n=96, seed=0, unknown=True):
    """8x8 grey images: class 0 is lighter above, class 1 below; tone is the brightness, side a dark bar."""
    draw = rng("toy", seed)
    labels = (np.arange(n) % 2).astype(np.int32)
    attributes = np.stack([np.arange(n) // 2 % 2, np.arange(n) // 4 % 3], -1).astype(np.int8)
    above = np.indices((8, 8))[0] < 4
    images = 60.0 + 120 * attributes[:, 0, None, None] + 50 * (above == (labels == 0)[:, None, None])
    images[attributes[:, 1] == 0, :, :2] = 0
    images[attributes[:, 1] == 1, :, 6:] = 0
    images = np.clip(images + draw.normal(0, 8, images.shape), 0, 255).astype(np.uint8)[..., None]
    if unknown:
        attributes[draw.random(n) < 0.1, 1] = -1
    ids = np.array([f"toy{i:04d}" for i in range(n)])
    return Records(images, labels, attributes, ids, np.zeros(n, np.int8), SPECS, ("above", "below"))


TINY = GeneratorSettings(
    images=320,
    batch=16,
    widths=(8, 32),
    fold=2,
    embedding=16,
    flip=True,
    min_cell=2,
    min_rows=10,
    steps=4,
    sample_batch=8,
    checkpoint_images=64,
    precision="float32",
    learning_rate=5e-3,
)

TINY_CLASSIFIER = NoisyClassifierSettings(
    images=8192, batch=32, widths=(16, 32), embedding=16, learning_rate=5e-3, sample_batch=8, checkpoint_images=1024
)


def renamed_records(n=96, seed=1):
    """Other rows than `toy_records()`, whose attributes have names that its generator does not know."""
    records = toy_records(n, seed)
    specs = (AttributeSpec("light", SPECS[0].values), AttributeSpec("bar", SPECS[1].values))
    return dataclasses.replace(records, ids=np.char.add("other-", records.ids), specs=specs)


@pytest.fixture(scope="session")
def records():
    return toy_records()


@pytest.fixture(scope="session")
def trained(records, tmp_path_factory):
    """(generator, its directory), trained without interruption."""
    directory = tmp_path_factory.mktemp("generator") / "whole"
    return fit_generator(records, TINY, directory, seed=7), directory


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory):
    """{attribute: (noise-aware classifier, its directory)} of `renamed_records`."""
    top, rows = tmp_path_factory.mktemp("classifiers"), renamed_records()
    return {
        name: (fit_noisy_classifier(rows, name, TINY_CLASSIFIER, top / name, seed=5), top / name)
        for name in ("light", "bar")
    }
