"""What all backbones share: 0..255 pixels in, float32 logits out, and a precision between them."""

from types import TracebackType
from typing import Any

import keras

from tfpdu.common import UserError
from tfpdu.common.validation import one_of, positive
from tfpdu.ensemble.settings import PRECISIONS

# Constants, not statistics of the user's rows: those would leak deleted rows into every shard.
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


def pixels(input_shape: tuple[int, int, int], upscale: int = 1) -> tuple[Any, Any]:
    """The input, float pixels [b, h, w, c] in 0..255, and the same about 0 +- 1, enlarged `upscale` times (bilinear).

    Raises:
      UserError: a size below 1.
    """
    positive(upscale=upscale, input_shape=min(input_shape))
    channels = input_shape[-1]
    mean, deviation = (_MEAN, _DEVIATION) if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
    inputs = keras.Input(input_shape, name="pixels")
    scale = [1 / (255 * d) for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    x = keras.layers.Rescaling(scale, offset, name="rescale", dtype="float32")(inputs)  # [b, h, w, c]
    if upscale > 1:
        x = keras.layers.UpSampling2D(upscale, interpolation="bilinear", name="upscale", dtype="float32")(x)
    return inputs, x


def network(inputs: Any, features: Any, classes: int, name: str) -> keras.Model:
    """The model from the input to float32 logits [b, classes], by a dense layer on features [b, d].

    Raises:
      UserError: fewer than 2 classes.
    """
    if classes < 2:
        raise UserError(f"classes: expected at least 2, got {classes}")
    logits = keras.layers.Dense(classes, name="logits", dtype="float32")(features)
    return keras.Model(inputs, logits, name=name)


class Precision:
    """The dtype policy of the layers made inside; Keras has only a global one.

    Args:
      name: "float32", or "mixed_bfloat16": float32 weights, everything between them in bfloat16.

    Raises:
      UserError: another name.
    """

    def __init__(self, name: str):
        one_of(PRECISIONS, precision=name)
        self.name = name

    def __enter__(self) -> None:
        self._before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keras.config.set_dtype_policy(self._before)
