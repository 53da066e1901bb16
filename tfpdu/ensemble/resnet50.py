"""ResNet50 (He et al. 2016) with the stem for large or for small pictures, from 0..255 pixels to logits."""

import functools
from typing import Any

import keras

from tfpdu.ensemble.frame import network
from tfpdu.ensemble.initial import InitialWeights, initialise, residual_rule
from tfpdu.ensemble.resnet import convolution, joined, residual_features

_EXPANSION = 4  # a stage's maps have this many times its width


def build_resnet50(
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
      stem: "cifar", "imagenet" or "torchvision", as of `build_resnet18`; so are the rest.
      width: of the first stage's bottlenecks (64 is ResNet50); its maps have four times as many channels.
      seed: draws the initial weights.
      weights: start from these instead where names and shapes agree.
      upscale: enlarges the picture this many times first.
      precision: "float32" or "mixed_bfloat16".

    Raises:
      UserError: unknown stem, or numbers out of range.
    """
    inputs, features = residual_features(input_shape, (3, 4, 6, 3), bottleneck, stem, width, upscale, precision)
    model = network(inputs, features, classes, f"resnet50_{stem}")
    initialise(model, seed, weights, functools.partial(residual_rule, last=3))
    return model


def bottleneck(x: Any, filters: int, stride: int, name: str, even: bool) -> Any:
    """He et al. 2016, figure 5 right: 1x1, 3x3 and 1x1 convolutions, [b, h/stride, w/stride, 4 * filters].

    The 3x3 convolution has the stride, as in torchvision and nearly all work since ("v1.5"); the paper's has the first.
    """
    branch = convolution(x, filters, 1, 1, f"{name}_1", "relu")
    branch = convolution(branch, filters, 3, stride, f"{name}_2", "relu", even)
    branch = convolution(branch, _EXPANSION * filters, 1, 1, f"{name}_3")
    return joined(x, branch, stride, name)
