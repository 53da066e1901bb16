"""From torchvision's ResNet-18 to a file of weights that training can start from, checked block by block."""

import os
from collections.abc import Mapping

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import rng
from tfpdu.ensemble.plain_resnet import plain_basic_block, plain_stem
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.ensemble.torchvision import by_path
from tfpdu.ensemble.transfer import DRAWN, Block, blocks
from tfpdu.ensemble.weights import save_weights

CLASSES = 1000  # ImageNet's, where the source has no last layer


def convert(
    state: Mapping[str, np.ndarray], source: str, output: str | os.PathLike[str] | None
) -> tuple[list[Block], keras.Model]:
    """Writes weights as a `.weights.h5` of `build_resnet18(..., stem="torchvision")`.

    What is missing is as it is at the start of a training: a residual branch is closed, so that its block is the
    identity; a last layer is drawn.

    Args:
      state: arrays by torchvision's names, see `tfpdu.ensemble.torchvision.read_state`.
      source: where they are from, for messages.
      output: where to; None writes nothing.

    Returns:
      Each block with what was found of it, and the network.

    Raises:
      UserError: the arrays are of another network.
    """
    weights = by_path(state, source)
    classes = len(weights.get("logits/bias", np.zeros(CLASSES)))
    model = build_resnet18((64, 64, 3), classes, "torchvision", weights=weights)
    table = blocks(weights, model)
    if output is not None:
        save_weights(model, output)
    return table, model


def forward_differences(
    model: keras.Model, state: Mapping[str, np.ndarray], images: int = 2, seed: int = 0
) -> dict[str, float]:
    """How far each block of the network is from plain numpy arithmetic on the source's own arrays.

    Each block gets the network's own input to it, so that an error shows where it is made.

    Args:
      model: of `convert`.
      state: the source's arrays, by torchvision's names.
      images: pictures of noise to compare on.
      seed: of the noise.

    Returns:
      {block: the largest difference, as a share of the largest output}; rounding alone leaves less than 1e-4.

    Raises:
      UserError: a block was drawn, since arrays that take part in it are missing or of another shape.
    """
    for block in blocks(by_path(state, "source"), model):
        if block.state == DRAWN:
            raise UserError(f"{block.name}: there is nothing to compare it with, {block.lacking[0]} is not there")
    ends = {"stem": "stem_pool"} | {f"stage{s}_block{b}": f"stage{s}_block{b}_out" for s in range(1, 5) for b in (1, 2)}
    inner = keras.Model(
        model.input, [model.get_layer("rescale").output, *(model.get_layer(e).output for e in ends.values())]
    )
    noise = rng("forward check", seed).integers(0, 256, (images, *model.input_shape[1:])).astype(np.float32)
    first, *outputs = [np.asarray(value, np.float64) for value in inner(noise, training=False)]
    found = {}
    for name, before, after in zip(ends, [first, *outputs], outputs, strict=False):
        if name == "stem":
            expected = plain_stem(before, state)
        else:
            stage, number = int(name[5]), int(name[-1]) - 1
            expected = plain_basic_block(before, state, f"layer{stage}.{number}", 2 if stage > 1 and not number else 1)
        found[name] = float(np.abs(after - expected).max() / max(float(np.abs(expected).max()), 1e-12))
    return found
