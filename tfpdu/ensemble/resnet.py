"""ResNet18 (He et al. 2016) with the stem for large or for small pictures, from 0..255 pixels to logits."""

import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError, seeds
from tfpdu.common.validation import one_of, positive
from tfpdu.ensemble.convolution import Convolution
from tfpdu.ensemble.normalization import BatchNormalization
from tfpdu.ensemble.settings import PRECISIONS, STAGES, STEMS
from tfpdu.ensemble.weights import load_weights

InitialWeights = Mapping[str, np.ndarray] | str | os.PathLike[str] | None

# Constants, not statistics of the user's rows: those would leak deleted rows into every shard.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def build_resnet18(
    input_shape: tuple[int, int, int],
    classes: int,
    stem: str = "cifar",
    width: int = 64,
    seed: int = 0,
    weights: InitialWeights = None,
    upscale: int = 1,
    precision: str = "float32",
) -> keras.Model:
    """Builds the network: float pixels [b, h, w, c] in 0..255 in, float32 logits [b, classes] out.

    Args:
      input_shape: (h, w, c) of a picture.
      classes: number of classes, at least 2.
      stem: "cifar": 3x3 convolution, stride 1, no pooling; "imagenet": 7x7, stride 2, then 3x3 max pooling;
        "torchvision": as "imagenet", with the same weights, but strided layers pad both sides alike, as PyTorch does.
      width: channels of the first stage (64 is ResNet18); each later stage has twice its predecessor's.
      seed: draws the initial weights; equal seeds give equal bits on every backend.
      weights: start from these instead where names and shapes agree: arrays by weight path
        ("stage1_block1_1_conv/kernel"), or a `.weights.h5` file of such a network, in which every weight must fit.
      upscale: enlarges the picture this many times first (bilinear).
      precision: "float32", or "mixed_bfloat16": float32 weights and logits, everything between them in bfloat16.

    Raises:
      UserError: unknown stem, or numbers out of range.
    """
    one_of(STEMS, stem=stem)
    one_of(PRECISIONS, precision=precision)
    positive(width=width, upscale=upscale, input_shape=min(input_shape))
    if classes < 2:
        raise UserError(f"classes: expected at least 2, got {classes}")
    channels = input_shape[-1]
    mean, deviation = (_MEAN, _DEVIATION) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
    inputs = keras.Input(input_shape, name="pixels")
    scale = [1 / (255 * d) for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    x = keras.layers.Rescaling(scale, offset, name="rescale", dtype="float32")(inputs)  # [b, h, w, c], about 0 +- 1
    if upscale > 1:
        x = keras.layers.UpSampling2D(upscale, interpolation="bilinear", name="upscale", dtype="float32")(x)
    with _Policy(precision):
        x = _stem(x, stem, width)
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                name = f"stage{stage + 1}_block{block + 1}"
                x = _basic_block(x, width * 2**stage, stride, name, even=stem == "torchvision")
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)  # [b, 8 * width]
    x = keras.layers.Dense(classes, name="logits", dtype="float32")(x)  # [b, classes]
    model = keras.Model(inputs, x, name=f"resnet18_{stem}")
    initialise(model, seed, weights)
    return model


def initialise(model: keras.Model, seed: int, weights: InitialWeights = None) -> None:
    """Draws all weights of a network anew, each keyed by (seed, its path), then lays `weights` over them.

    Convolutions: He normal over the fan out; the logits: normal with deviation 0.01; the last scale of each
    residual branch starts at 0, so that each block starts as the identity (Goyal et al. 2017, section 5.1).
    """
    for variable in model.weights:
        variable.assign(_initial(variable.path, tuple(variable.shape), seed))
    if weights is None:
        return
    if not isinstance(weights, Mapping):
        load_weights(model, weights)
        return
    fitting = {v.path: v for v in model.weights if v.path in weights and v.shape == np.shape(weights[v.path])}
    if not fitting:
        raise UserError("weights: no array has the path and shape of a weight of this network")
    for path, variable in fitting.items():
        variable.assign(weights[path])


def freeze(model: keras.Model, stages: int) -> None:
    """Makes the stem and so many stages of a ResNet18 keep their weights and, in batch normalisation, statistics.

    Args:
      model: of `build_resnet18`.
      stages: 0..4; 0 freezes nothing, 4 all but the logits.
    """
    for layer in model.layers:
        layer.trainable = stage_of(layer.name) > stages


def stage_of(name: str) -> int:
    """The stage of a layer or weight path: 1..4, the stem counted with the first; 5 for the logits."""
    if name.startswith("stage"):
        return int(name[len("stage")])
    return 1 if name.startswith("stem") else STAGES + 1


class _Policy:
    """The dtype policy of the layers made inside; Keras has only a global one."""

    def __init__(self, name: str):
        self.name = name

    def __enter__(self) -> None:
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(self, *_: Any) -> None:
        keras.config.set_dtype_policy(self.before)


def _stem(x: Any, stem: str, width: int) -> Any:
    if stem == "cifar":
        return _convolution(x, width, 3, 1, "stem", "relu")  # [b, h, w, width]
    x = _convolution(x, width, 7, 2, "stem", "relu", even=stem == "torchvision")  # [b, h/2, w/2, width]
    if stem == "torchvision":  # zeros are no maximum of what relu leaves
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        return keras.layers.MaxPooling2D(3, 2, "valid", name="stem_pool")(x)
    return keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)  # [b, h/4, w/4, width]


def _basic_block(x: Any, filters: int, stride: int, name: str, even: bool) -> Any:
    """He et al. 2016, figure 2; the shortcut is a 1x1 convolution where the shape changes (their option B)."""
    shortcut = x
    if stride != 1:
        shortcut = _convolution(x, filters, 1, stride, f"{name}_shortcut")
    x = _convolution(x, filters, 3, stride, f"{name}_1", "relu", even)
    x = _convolution(x, filters, 3, 1, f"{name}_2")
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)  # [b, h/stride, w/stride, filters]


def _convolution(
    x: Any, filters: int, size: int, stride: int, name: str, activation: str | None = None, even: bool = False
) -> Any:
    """Convolution and normalisation. "same" pads one pixel more behind than before if a stride asks; `even` never."""
    padding = "same"
    if even and stride > 1:
        x, padding = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"
    x = Convolution(filters, size, stride, padding, use_bias=False, name=f"{name}_conv")(x)
    x = BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x


def _initial(path: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    name = path.rsplit("/", 1)[-1]
    if name == "kernel":
        deviation = 0.01 if len(shape) == 2 else (2.0 / (shape[0] * shape[1] * shape[3])) ** 0.5
        noise = seeds.rng("initial weights", seed, path).standard_normal(shape, np.float32)
        return noise * np.float32(deviation)
    ones = name == "moving_variance" or (name == "gamma" and not path.endswith("_2_norm/gamma"))
    return np.full(shape, float(ones), np.float32)
