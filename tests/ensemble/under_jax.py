"""Run as a program, with KERAS_BACKEND=jax: what the backbones are on a machine without TensorFlow.

    python -m tests.ensemble.under_jax FOLDER

FOLDER holds each network as `<name>.keras`, made under TensorFlow. It writes FOLDER/said.npz.
"""

# ruff: noqa: E402 (the hook comes before all imports)

import sys
from pathlib import Path


class NoTensorFlow:
    """An import hook under which TensorFlow is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_privacy"):
            raise ImportError(f"{name} is not installed")


sys.meta_path.insert(0, NoTensorFlow())

import keras
import numpy as np

from tfpdu.common.files import weights_hash
from tfpdu.ensemble import BACKBONES, build_backbone

SMALL = {
    "resnet18": dict(width=2),
    "resnet50": dict(width=2),
    "small_vit": dict(width=8, depth=2, heads=2),
    "cnn": dict(widths=(4, 6)),
}


def main(folder):
    said = {}
    pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1)).astype(np.float32)
    assert keras.backend.backend() == "jax"
    for name in BACKBONES:
        said[f"{name}_hash"] = weights_hash(build_backbone(name, (8, 8, 1), 3, 5, **SMALL[name]))
        said[name] = np.asarray(keras.models.load_model(folder / f"{name}.keras", safe_mode=True)(pictures))
    np.savez(folder / "said.npz", **said)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
