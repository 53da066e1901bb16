"""ImageNet weights of torchvision's ResNet-18, from a file of its state dict or from keras-hub's preset."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.files import read_npz

KERAS_HUB = "keras_hub:"
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
_LOGITS = {"fc.weight": "logits/kernel", "fc.bias": "logits/bias"}


def torchvision_resnet18(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of the file under the weight paths of `build_resnet18(..., stem="torchvision")`.

    Convolution kernels are turned from [out, in, h, w] to [h, w, in, out]; the last layer ("fc") is left out, since
    its classes are others. Blocks that the file lacks keep their initial weights, with which a block is the identity.

    Args:
      path: `.npz` or `.safetensors`, one array per key of the state dict ("layer1.0.conv1.weight", ...).

    Raises:
      UserError: the file is missing or damaged, or holds no weights of such a network.
    """
    weights = by_path(read_state(path), str(path))
    return {name: array for name, array in weights.items() if not name.startswith("logits/")}


def read_state(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of a `.npz` or `.safetensors` file by their names, float32 where they are floating-point numbers.

    Raises:
      UserError: the file is missing or damaged, is another kind of file, or `safetensors` is not installed.
    """
    name = str(path)
    if name.startswith(KERAS_HUB):
        return keras_hub_state(name.removeprefix(KERAS_HUB))
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file")
    if name.endswith(".safetensors"):
        arrays = _read_safetensors(path)
    elif name.endswith(".npz"):
        arrays = read_npz(path)
    else:
        raise UserError(f"{path}: expected a file of torchvision's names that ends in .npz or .safetensors")
    return {key: a.astype(np.float32) if a.dtype.kind == "f" else a for key, a in arrays.items()}


def by_path(state: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """A state dict under our weight paths and in our layouts; what has no place there is left out.

    Args:
      state: arrays by torchvision's names.
      source: where it is from, for the message.

    Raises:
      UserError: it is not of a ResNet-18.
    """
    found = {}
    for key, array in state.items():
        if where := _path_of(key):
            order = {4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim)
            found[where] = array.transpose(order) if order else array
    if "stem_conv/kernel" not in found:
        raise UserError(f"{source}: no weights of torchvision's ResNet-18 (expected keys such as 'conv1.weight')")
    return found


def keras_hub_state(preset: str, load: Any = None) -> dict[str, np.ndarray]:
    """The weights of a ResNet-18 of keras-hub, such as "resnet_18_imagenet", under torchvision's names.

    Args:
      preset: downloaded by keras-hub at first use.
      load: for tests: a function from the preset's name to a model.

    Raises:
      UserError: keras-hub is not installed, or does not give the preset.
    """
    try:
        model = (load or _load_preset)(preset)
    except ImportError:
        raise UserError(f"{KERAS_HUB}{preset}: keras-hub is not installed; pip install 'tfpdu[pretrained]'") from None
    except Exception as error:  # whatever the network or keras-hub says
        raise UserError(f"{KERAS_HUB}{preset}: keras-hub does not give it ({str(error).splitlines()[0]})") from None
    state: dict[str, np.ndarray] = {}
    for layer in model.layers:
        if not layer.weights or not (name := _torch_name(layer.name)):
            continue
        arrays = [np.asarray(value, np.float32) for value in layer.get_weights()]
        leaves = ("weight",) if layer.name.endswith("_conv") else ("weight", "bias", "running_mean", "running_var")
        arrays = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a for a in arrays]
        state |= {f"{name}.{leaf}": a for leaf, a in zip(leaves, arrays, strict=True)}
    return state


def _load_preset(preset: str) -> Any:
    import keras_hub

    return keras_hub.models.Backbone.from_preset(preset)


def _torch_name(layer: str) -> str:
    """'stack1_block0_2_bn' -> 'layer2.0.bn2'; '' for what has no place."""
    parts = layer.split("_")
    if len(parts) == 2 and parts[0] == "conv1" and parts[1] in ("conv", "bn"):
        return "conv1" if parts[1] == "conv" else "bn1"
    if len(parts) != 4 or not parts[0].startswith("stack"):
        return ""
    block = f"layer{int(parts[0][len('stack') :]) + 1}.{parts[1].removeprefix('block')}"
    if parts[2] == "0":
        return f"{block}.downsample.{0 if parts[3] == 'conv' else 1}"
    return f"{block}.{parts[3]}{parts[2]}"


def _read_safetensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise UserError(f"{path}: the package safetensors is not installed; pip install safetensors") from None
    try:
        return dict(load_file(path))
    except Exception as error:  # its own class, and TypeError and KeyError for bfloat16
        raise UserError(f"{path}: not a .safetensors file that numpy can read ({str(error).splitlines()[0]})") from None


def _path_of(key: str) -> str:
    """'layer2.0.bn1.running_var' -> 'stage2_block1_1_norm/moving_variance'; '' for what has no place."""
    if key in _LOGITS:
        return _LOGITS[key]
    *where, leaf = key.split(".")
    match where:
        case [part]:
            name = "stem"
        case [stage, block, "downsample", index]:
            name, part = f"stage{stage[-1]}_block{int(block) + 1}_shortcut", "conv" if index == "0" else "bn"
        case [stage, block, part]:
            name = f"stage{stage[-1]}_block{int(block) + 1}_{part[-1]}"
        case _:
            return ""
    if part.startswith("conv") and leaf == "weight":
        return f"{name}_conv/kernel"
    return f"{name}_norm/{_NORM[leaf]}" if part.startswith("bn") and leaf in _NORM else ""
