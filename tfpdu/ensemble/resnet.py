"""ResNet18 (He et al. 2016) with the stem for large or for small pictures, from 0..255 pixels to logits."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfpdu.common.validation import one_of, positive
from tfpdu.ensemble.convolution import Convolution
from tfpdu.ensemble.frame import Precision, network, pixels
from tfpdu.ensemble.initial import InitialWeights, initialise
from tfpdu.ensemble.normalization import BatchNormalization
from tfpdu.ensemble.settings import STAGES, STEMS

Block = Callable[[Any, int, int, str, bool], Any]  # maps, width, stride, name and even padding to maps


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
    inputs, features = residual_features(input_shape, (2, 2, 2, 2), basic_block, stem, width, upscale, precision)
    model = network(inputs, features, classes, f"resnet18_{stem}")
    initialise(model, seed, weights)
    return model


def residual_features(
    input_shape: tuple[int, int, int],
    blocks: Sequence[int],
    block: Block,
    stem: str,
    width: int,
    upscale: int,
    precision: str,
) -> tuple[Any, Any]:
    """Stem, stages and pooling of a residual network: its input and its features [b, d].

    Args:
      input_shape: (h, w, c) of a picture.
      blocks: how many blocks each stage has; each stage but the first halves the map.
      block: makes one.
      stem: as `build_resnet18`; so are the rest.
      width: of the first stage.
      upscale: of the picture.
      precision: of the layers.
    """
    one_of(STEMS, stem=stem)
    positive(width=width)
    inputs, x = pixels(input_shape, upscale)
    with Precision(precision):
        x = _stem(x, stem, width)
        for stage, count in enumerate(blocks):
            for place in range(count):
                stride = 2 if stage and not place else 1
                x = block(x, width * 2**stage, stride, f"stage{stage + 1}_block{place + 1}", stem == "torchvision")
        return inputs, keras.layers.GlobalAveragePooling2D(name="pool")(x)


def freeze(model: keras.Model, stages: int) -> None:
    """Makes the stem and so many stages of a ResNet keep their weights and, in batch normalisation, statistics.

    Args:
      model: of `build_resnet18` or `build_resnet50`.
      stages: 0..4; 0 freezes nothing, 4 all but the logits.
    """
    for layer in model.layers:
        layer.trainable = stage_of(layer.name) > stages


def stage_of(name: str) -> int:
    """The stage of a layer or weight path: 1..4, the stem counted with the first; 5 for the logits."""
    if name.startswith("stage"):
        return int(name[len("stage")])
    return 1 if name.startswith("stem") else STAGES + 1


def _stem(x: Any, stem: str, width: int) -> Any:
    if stem == "cifar":
        return convolution(x, width, 3, 1, "stem", "relu")  # [b, h, w, width]
    x = convolution(x, width, 7, 2, "stem", "relu", even=stem == "torchvision")  # [b, h/2, w/2, width]
    if stem == "torchvision":  # zeros are no maximum of what relu leaves
        x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
        return keras.layers.MaxPooling2D(3, 2, "valid", name="stem_pool")(x)
    return keras.layers.MaxPooling2D(3, 2, "same", name="stem_pool")(x)  # [b, h/4, w/4, width]


def basic_block(x: Any, filters: int, stride: int, name: str, even: bool) -> Any:
    """He et al. 2016, figure 2: two 3x3 convolutions beside the shortcut, [b, h/stride, w/stride, filters]."""
    branch = convolution(x, filters, 3, stride, f"{name}_1", "relu", even)
    branch = convolution(branch, filters, 3, 1, f"{name}_2")
    return joined(x, branch, stride, name)


def joined(x: Any, branch: Any, stride: int, name: str) -> Any:
    """relu(shortcut + branch); the shortcut is a 1x1 convolution where the shape changes (their option B)."""
    filters = branch.shape[-1]
    if stride != 1 or x.shape[-1] != filters:
        x = convolution(x, filters, 1, stride, f"{name}_shortcut")
    x = keras.layers.Add(name=f"{name}_add")([x, branch])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)


def convolution(
    x: Any, filters: int, size: int, stride: int, name: str, activation: str | None = None, even: bool = False
) -> Any:
    """A convolution without bias, batch normalisation and perhaps an activation.

    "same" pads one pixel more behind than before if a stride asks; `even` never does.
    """
    padding = "same"
    if even and stride > 1:
        x, padding = keras.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x), "valid"
    x = Convolution(filters, size, stride, padding, use_bias=False, name=f"{name}_conv")(x)
    x = BatchNormalization(name=f"{name}_norm")(x)
    return keras.layers.Activation(activation, name=f"{name}_{activation}")(x) if activation else x
