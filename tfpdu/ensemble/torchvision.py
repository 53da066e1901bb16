"""ImageNet weights of torchvision's ResNet-18, from a .npz file of its state dict."""

import os

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.files import read_npz

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def torchvision_resnet18(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of the file under the weight paths of `build_resnet18(..., stem="imagenet")`.

    Convolution kernels are turned from [out, in, h, w] to [h, w, in, out]; the last layer ("fc") is left out, since
    its classes are others. Blocks that the file lacks keep their initial weights, with which a block is the identity.

    Args:
      path: `.npz`, one array per key of the state dict ("layer1.0.conv1.weight", ...).

    Raises:
      UserError: the file is missing or damaged, or holds no weights of such a network.
    """
    found = {}
    for key, array in read_npz(path).items():
        where = _path_of(key)
        if where:
            found[where] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
    if "stem_conv/kernel" not in found:
        raise UserError(f"{path}: no weights of torchvision's ResNet-18 (expected keys such as 'conv1.weight')")
    return found


def _path_of(key: str) -> str:
    """'layer2.0.bn1.running_var' -> 'stage2_block1_1_norm/moving_variance'; '' for what has no place."""
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
