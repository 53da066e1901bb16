"""Weights in files: Keras' `.weights.h5` layout, written and read straight away.

Keras looks into every attribute of every layer for something to save, which takes longer than training a small
shard does. A functional network is a list of layers; the files are the same, and Keras reads and writes them too.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import keras
import numpy as np

from tfpdu.common import UserError, files

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")  # as the layer saves them


def save_weights(
    model: keras.Model, path: str | os.PathLike[str], values: Mapping[str, np.ndarray] | None = None
) -> None:
    """Writes the weights of a functional model atomically; equal weights give equal bytes.

    Args:
      model: whose weights.
      path: of the file.
      values: the weights by path, where somebody has read them already.
    """
    with files.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, layer in _groups(model):
            store: dict[str, keras.Variable] = {}
            layer.save_own_variables(store)
            group = file.create_group(f"layers/{name}/vars")
            group.attrs["name"] = layer.name
            for key, variable in store.items():
                group.create_dataset(key, data=values[variable.path] if values else np.asarray(variable))


def load_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Reads the weights of a functional model.

    Raises:
      UserError: the file is missing, broken, or of another network.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            for name, layer in _groups(model):
                group = file[f"layers/{name}/vars"]
                if len(group) != len(layer.weights):
                    raise ValueError(f"{layer.name} has {len(layer.weights)} weights, the file {len(group)}")
                layer.load_own_variables(group)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: not the weights of this network ({str(error).splitlines()[0]})") from None


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights of a file of convolutions, normalisations and dense layers by their path, "stem_conv/kernel".

    Raises:
      UserError: the file is missing or broken, or names no layers.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: no such file")
    found: dict[str, np.ndarray] = {}
    try:
        with h5py.File(path, "r") as file:
            for group in (layer["vars"] for layer in file["layers"].values()):
                name = group.attrs["name"]
                leaves = _NORM if name.endswith("_norm") else ("kernel", "bias")
                found |= {f"{name}/{leaves[int(key)]}": np.asarray(group[key]) for key in group}
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path}: no weights that tfpdu wrote ({str(error).splitlines()[0]})") from None
    return found


def _groups(model: keras.Model) -> Iterator[tuple[str, keras.Layer]]:
    """Each layer under the name that Keras gives its group: the class in snake case, numbered from the second on."""
    seen: Counter[str] = Counter()
    for layer in model.layers:
        words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
        kind = re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()
        yield f"{kind}_{seen[kind]}" if seen[kind] else kind, layer
        seen[kind] += 1
