"""ResNet-18's blocks in plain numpy, with PyTorch's names, layouts and padding: slow, obvious, to check others by.

He et al. (2016), figure 2; torchvision.models.resnet18 for names, padding and epsilon. Pictures are [b, h, w, c],
kernels [out, in, kh, kw].
"""

from collections.abc import Mapping

import numpy as np

State = Mapping[str, np.ndarray]
EPSILON = 1e-5


def plain_stem(x: np.ndarray, state: State) -> np.ndarray:
    """Normalised pictures [b, h, w, 3] -> [b, h/4, w/4, 64]: convolution 7x7/2, normalisation, relu, maximum 3x3/2."""
    x = np.maximum(_norm(_convolve(x, state["conv1.weight"], 2, 3), state, "bn1"), 0)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    return _windows(padded, 3, 2).max((3, 4))


def plain_basic_block(x: np.ndarray, state: State, name: str, stride: int) -> np.ndarray:
    """A basic block: relu(shortcut + branch); a branch without arrays is 0.

    Args:
      x: [b, h, w, c].
      state: arrays by torchvision's names.
      name: such as "layer2.0".
      stride: 1 or 2.
    """
    shortcut = x
    if stride > 1:
        shortcut = _norm(_convolve(x, state[f"{name}.downsample.0.weight"], stride, 0), state, f"{name}.downsample.1")
    if f"{name}.bn2.weight" not in state:
        return np.maximum(shortcut, 0)
    y = np.maximum(_norm(_convolve(x, state[f"{name}.conv1.weight"], stride, 1), state, f"{name}.bn1"), 0)
    y = _norm(_convolve(y, state[f"{name}.conv2.weight"], 1, 1), state, f"{name}.bn2")
    return np.maximum(shortcut + y, 0)


def _convolve(x: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    return np.einsum("bhwyxc,ocyx->bhwo", _windows(padded, kernel.shape[2], stride), kernel, optimize=True)


def _windows(x: np.ndarray, size: int, stride: int) -> np.ndarray:
    """[b, h, w, c] -> [b, h', w', size, size, c]."""
    views = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))  # [b, h', w', c, size, size]
    return np.moveaxis(views[:, ::stride, ::stride], 3, 5)


def _norm(x: np.ndarray, state: State, name: str) -> np.ndarray:
    scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"].astype(np.float64) + EPSILON)
    return (x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]
