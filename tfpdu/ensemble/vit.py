"""SmallViT, a vision transformer for pictures of 32 x 32, from 0..255 pixels to logits.

It is the plain ViT that [1] trains from scratch on CIFAR-10 and compares others with: patches of 4, 9 blocks of width
192, 12 heads, a hidden layer of twice the width, a class token and learned positions; 2.7 million weights. Tran and Woo
(2025) name a SmallViT and not its sizes; these are our choice. Shifted patches and local attention, which [1] adds, are
left out.

References:
  [1] Lee, Lee, Song. Vision transformer for small-size datasets. 2021 (arXiv 2112.13492), and the authors' code.
  [2] Dosovitskiy et al. An image is worth 16x16 words: transformers for image recognition at scale. ICLR 2021.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from tfpdu.common import UserError
from tfpdu.common.validation import positive
from tfpdu.ensemble.frame import Precision, network, pixels
from tfpdu.ensemble.initial import InitialWeights, initialise

_EPSILON = 1e-5  # of layer normalisation, PyTorch's


def build_small_vit(
    input_shape: tuple[int, int, int],
    classes: int,
    patch: int = 4,
    width: int = 192,
    depth: int = 9,
    heads: int = 12,
    seed: int = 0,
    weights: InitialWeights = None,
    upscale: int = 1,
    precision: str = "float32",
) -> keras.Model:
    """Builds the network: float pixels [b, h, w, c] in 0..255 in, float32 logits [b, classes] out.

    Args:
      input_shape: (h, w, c) of a picture; patches must cover it exactly.
      classes: number of classes, at least 2.
      patch: side of a patch; [1] has 4 for pictures of 32 and 8 for those of 64.
      width: of a token, a multiple of `heads`.
      depth: number of blocks.
      heads: of each attention.
      seed: draws the initial weights; equal seeds give equal bits on every backend.
      weights: start from these instead where names and shapes agree, as of `build_resnet18`.
      upscale: enlarges the picture this many times first (bilinear).
      precision: "float32", or "mixed_bfloat16": float32 weights and logits, everything between them in bfloat16.

    Raises:
      UserError: sizes that do not fit each other, or numbers out of range.
    """
    positive(patch=patch, width=width, depth=depth, heads=heads)
    inputs, x = pixels(input_shape, upscale)
    height, wide = x.shape[1:3]
    if height % patch or wide % patch:
        raise UserError(f"patch={patch}: expected a divisor of the picture's sides {height} and {wide}")
    if width % heads:
        raise UserError(f"width={width}: expected a multiple of heads={heads}")
    count = (height // patch) * (wide // patch)
    with Precision(precision):
        x = keras.layers.Conv2D(width, patch, patch, kernel_initializer="glorot_normal", name="patches")(x)
        x = keras.layers.Reshape((count, width), name="sequence")(x)  # [b, t, d]
        x = Tokens(name="tokens")(x)  # [b, 1 + t, d]
        for block in range(depth):
            x = _block(x, width, heads, f"block{block + 1}")
        x = keras.layers.Cropping1D((0, count), name="class_token")(x)  # [b, 1, d]
        x = _normalised(keras.layers.Flatten(name="features")(x), "final")  # [b, d]
    model = network(inputs, x, classes, "small_vit")
    initialise(model, seed, weights, transformer_rule)
    return model


def transformer_rule(path: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and deviation of a weight at the start: Xavier normal kernels, standard normal tokens [1, code]."""
    name = path.rsplit("/", 1)[-1]
    if name == "kernel":
        return 0.0, (2.0 / (int(np.prod(shape[:-1])) + shape[-1])) ** 0.5  # a patch's kernel is that of a dense layer
    return float(name == "gamma"), float(name in ("class_token", "positions"))


def _block(x: Any, width: int, heads: int, name: str) -> Any:
    """x + attention(norm(x)), then x + hidden layer(norm(x)), [b, t, d]; [2, eq. 2 and 3]."""
    y = _dense(_normalised(x, f"{name}_attention"), 3 * width, f"{name}_attention_in", bias=False)  # [b, t, 3 d]
    y = _dense(Attention(heads, name=f"{name}_attention")(y), width, f"{name}_attention_out")
    x = keras.layers.Add(name=f"{name}_attention_add")([x, y])
    y = _dense(_normalised(x, f"{name}_hidden"), 2 * width, f"{name}_hidden_in")
    y = _dense(keras.layers.Activation("gelu", name=f"{name}_hidden_gelu")(y), width, f"{name}_hidden_out")
    return keras.layers.Add(name=f"{name}_hidden_add")([x, y])


def _normalised(x: Any, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm")(x)


def _dense(x: Any, units: int, name: str, bias: bool = True) -> Any:
    return keras.layers.Dense(units, use_bias=bias, kernel_initializer="glorot_normal", name=name)(x)


@keras.saving.register_keras_serializable("tfpdu")
class Tokens(keras.layers.Layer):
    """Puts a learned class token before tokens [b, t, d] and adds a learned position to each: [b, 1 + t, d]."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Makes both, drawn from the standard normal."""
        _, count, width = input_shape
        self.class_token_initializer = self.positions_initializer = keras.initializers.RandomNormal(0.0, 1.0)
        self.class_token = self.add_weight((1, 1, width), self.class_token_initializer, name="class_token")
        self.positions = self.add_weight((1, 1 + count, width), self.positions_initializer, name="positions")

    def call(self, x: Any) -> Any:
        """[b, t, d] to [b, 1 + t, d]."""
        first = ops.broadcast_to(self.class_token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([first, x], 1) + self.positions

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """One token more."""
        batch, count, width = input_shape
        return batch, 1 + count, width


@keras.saving.register_keras_serializable("tfpdu")
class Attention(keras.layers.Layer):
    """Self-attention of several heads, without weights of its own [2, eq. 5 to 8].

    Args:
      heads: each takes its part of queries, keys and values.
    """

    def __init__(self, heads: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads = heads

    def call(self, x: Any) -> Any:
        """Queries, keys and values side by side [b, t, 3 d] to values [b, t, d]."""
        _, count, width = x.shape
        size = width // (3 * self.heads)
        parts = ops.reshape(x, (-1, count, 3, self.heads, size))
        query, key, value = (ops.transpose(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))  # [b, heads, t, size]
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * size**-0.5  # [b, heads, t, t]
        mixed = ops.matmul(ops.softmax(scores), value)  # [b, heads, t, size]
        return ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, count, width // 3))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """A third of the width."""
        batch, count, width = input_shape
        return batch, count, width // 3

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "heads": self.heads}
