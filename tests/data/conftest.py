"""Small tables that stand for a data set."""

import numpy as np
import pytest

from tfpdu.data import AttributeSpec, Records


def _records(n=120, classes=3, subjects=None, prefix="set/train", seed=0):
    """Balanced classes; the attribute 'colour' has known shares and some unknown values."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return Records(
        images=generator.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8),
        labels=labels.astype(np.int32),
        attributes=(np.arange(n) // classes % 4 - 1).clip(-1, 1).astype(np.int8)[:, None],
        ids=np.array([f"{prefix}/{row:05d}" for row in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("colour", ("black", "orange")),),
        label_names=tuple("abcdefghij"[:classes]),
        subjects=subjects,
    )


@pytest.fixture
def make_records():
    return _records


@pytest.fixture(scope="session")
def make_records_session():
    """The same, for property tests, which need a fixture that lives longer than one example."""
    return _records
