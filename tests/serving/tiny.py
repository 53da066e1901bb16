"""Ensembles of one layer, whose versions are exported and loaded in a moment, and releases of them."""

from pathlib import Path

import keras
import numpy as np

from tests.ensemble import tiny
from tfpdu.common import files
from tfpdu.ensemble import Ensemble
from tfpdu.serving import fresh_process
from tfpdu.serving.pictures import PictureReader
from tfpdu.serving.publish import Deletions
from tfpdu.serving.release import Release, noise
from tfpdu.serving.trial import checked

SHAPE = (4, 4, 1)
NAMES = ("dark", "middle", "bright")
SALT = "0123456789abcdef"
_NETWORK: list[keras.Model] = []


def network() -> keras.Model:
    if not _NETWORK:
        pixels = keras.Input(SHAPE)
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
        _NETWORK.append(keras.Model(pixels, keras.layers.Dense(len(NAMES))(x)))
    return _NETWORK[0]


def ensemble(seed: int, k: int = 2, **changes) -> Ensemble:
    random = np.random.default_rng(seed)
    shapes = [weight.shape for weight in network().get_weights()]
    members = [[random.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in range(k)]
    return Ensemble(members, network(), tiny.settings(**changes), sizes=range(1, k + 1))


def release(seed: int, rows: tuple[str, ...] = ("a", "b"), k: int = 2, **changes) -> Release:
    """The release of an ensemble that learned rows with these digests."""
    made = ensemble(seed, k)
    hashes = [{"shard": s, "weights": files.array_hash(*made.weights(s))} for s in range(k)]
    lineage = {"salt": SALT, "rows": list(rows), "members": hashes}
    return Release(made, NAMES, PictureReader(SHAPE), noise(SHAPE, seed, 5), "noise", lineage, **changes)


def deletions(*digests: str) -> Deletions:
    return Deletions(SALT, frozenset(digests))


def trial(version: Path) -> dict:
    """What a fresh process does, in this one."""
    return checked(version, {**fresh_process.replay(str(version)), "strangers": []})
