"""The networks that tfpdu builds, by name."""

from collections.abc import Callable
from typing import Any

import keras

from tfpdu.common.validation import one_of
from tfpdu.ensemble.cnn import build_cnn
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.ensemble.resnet50 import build_resnet50
from tfpdu.ensemble.vit import build_small_vit

BACKBONES: dict[str, Callable[..., keras.Model]] = {
    "resnet18": build_resnet18,
    "resnet50": build_resnet50,
    "small_vit": build_small_vit,
    "cnn": build_cnn,
}


def build_backbone(
    name: str, input_shape: tuple[int, int, int], classes: int, seed: int = 0, **options: Any
) -> keras.Model:
    """Builds a network: float pixels [b, h, w, c] in 0..255 in, float32 logits [b, classes] out.

    Args:
      name: one of `BACKBONES`.
      input_shape: (h, w, c) of a picture.
      classes: number of classes, at least 2.
      seed: draws the initial weights; equal seeds give equal bits on every backend.
      **options: of that network, such as `stem` or `patch`; all have `weights`, `upscale` and `precision`.

    Raises:
      UserError: there is no network of that name, or the numbers do not fit.
    """
    one_of(BACKBONES, backbone=name)
    return BACKBONES[name](input_shape, classes, seed=seed, **options)
