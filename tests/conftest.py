"""Shared fixtures. TensorFlow is set up once, deterministic and with two logical CPU devices."""

import os
import pathlib

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# What `determinism.configure(2)` asks for, whichever test makes TensorFlow start.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")

# Files of `make test-slow` in which one process is busy for many minutes. Begun last, they keep one process waiting.
LONG = ("test_exact.py", "test_kill_points.py", "test_ray_cluster.py", "test_loop.py", "test_methods.py")


def pytest_collection_modifyitems(items):
    """Long files first; the others stay in their order."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def tfds_directory():
    """A TFDS data directory with CIFAR-10 and CelebA; skips where there is none, except in CI, where it must be."""
    directory = os.environ.get("TFDS_DATA_DIR", "")
    if pathlib.Path(directory, "cifar10/3.0.2").is_dir() and pathlib.Path(directory, "celeb_a/2.1.0").is_dir():
        return directory
    reason = f"TFDS_DATA_DIR={directory!r} holds no cifar10 3.0.2 and celeb_a 2.1.0"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def digits_archive(tmp_path_factory) -> str:
    """The path of an .npz: the digits with their parity, as somebody's own pictures."""
    from tfpdu.data import load

    records = load("digits", attributes=("parity",))
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(
        path,
        images=records.images,
        labels=records.labels,
        attributes=np.array(records.specs[0].values)[records.attributes],
        attribute_names=np.array([spec.name for spec in records.specs]),
    )
    return str(path)
