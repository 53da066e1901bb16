"""A plain convolutional network for pictures of a few pixels, where a ResNet's depth buys nothing but time."""

from collections.abc import Sequence

import keras

from tfpdu.common import UserError
from tfpdu.common.validation import positive
from tfpdu.ensemble.frame import Precision, network, pixels
from tfpdu.ensemble.initial import InitialWeights, initialise
from tfpdu.ensemble.resnet import convolution


def build_cnn(
    input_shape: tuple[int, int, int],
    classes: int,
    widths: Sequence[int] = (32, 64, 64),
    seed: int = 0,
    weights: InitialWeights = None,
    upscale: int = 1,
    precision: str = "float32",
) -> keras.Model:
    """Builds the network: float pixels [b, h, w, c] in 0..255 in, float32 logits [b, classes] out.

    Args:
      input_shape: (h, w, c) of a picture.
      classes: number of classes, at least 2.
      widths: channels of each 3x3 convolution with batch normalisation; each but the first halves the map.
      seed: draws the initial weights; equal seeds give equal bits on every backend.
      weights: as `build_resnet18`.
      upscale: enlarges the picture this many times first (bilinear).
      precision: "float32" or "mixed_bfloat16".

    Raises:
      UserError: numbers out of range.
    """
    if not widths:
        raise UserError("widths: expected at least one number of channels")
    positive(widths=min(widths))
    inputs, x = pixels(input_shape, upscale)
    with Precision(precision):
        for number, width in enumerate(widths):
            x = convolution(x, width, 3, 2 if number else 1, f"stage{number + 1}", "relu")
        features = keras.layers.GlobalAveragePooling2D(name="pool")(x)  # [b, widths[-1]]
    model = network(inputs, features, classes, "cnn")
    initialise(model, seed, weights)
    return model
