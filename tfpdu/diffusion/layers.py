"""The denoiser's own Keras layers; each serialises and runs in any precision and on any backend."""

# ruff: noqa: D102 (Keras defines what `call`, `get_config` and `compute_output_shape` are; the class says the rest)

from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("tfpdu")
class Fold(keras.layers.Layer):
    """Space to channels: [b, h, w, c] -> [b, h / f, w / f, c * f * f]."""

    def __init__(self, factor: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        f, (_, h, w, c) = self.factor, x.shape
        if f == 1:
            return x
        x = ops.reshape(x, (-1, h // f, f, w // f, f, c))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, h // f, w // f, f * f * c))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("tfpdu")
class Unfold(keras.layers.Layer):
    """The inverse of `Fold`: [b, h, w, c * f * f] -> [b, h * f, w * f, c]."""

    def __init__(self, factor: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x: Any) -> Any:
        f, (_, h, w, c) = self.factor, x.shape
        if f == 1:
            return x
        x = ops.reshape(x, (-1, h, w, f, f, c // f**2))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, h * f, w * f, c // f**2))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable("tfpdu")
class PixelNorm(keras.layers.Layer):
    """x * rsqrt(mean(x^2) + 1e-6) over the channels of each pixel: [..., c] -> [..., c]; it has no weights."""

    def call(self, x: Any) -> Any:
        # The sum as a product with ones: on a CPU a reduction over channels is slower, forward and backward.
        channels = x.shape[-1]
        total = ops.matmul(ops.square(x), ops.ones((channels, 1), x.dtype))  # [..., 1]
        return x * ops.rsqrt(total / channels + 1e-6)


@keras.saving.register_keras_serializable("tfpdu")
class FiLM(keras.layers.Layer):
    """[x: b,h,w,c, parameters: b,2c] -> x * (1 + scale) + shift, channel by channel."""

    def call(self, inputs: Any) -> Any:
        x, parameters = inputs
        scale, shift = ops.split(ops.expand_dims(parameters, (1, 2)), 2, axis=-1)  # (b, 1, 1, c) each
        return x * (1 + scale) + shift


@keras.saving.register_keras_serializable("tfpdu")
class NoiseFeatures(keras.layers.Layer):
    """c_noise [b] -> cosines and sines at `width / 2` fixed frequencies [b, width], from slow to fast."""

    def __init__(self, width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.width = width

    def call(self, c_noise: Any) -> Any:
        # c_noise runs from about -1.6 to 1.1: the slowest wave tells the ends apart, the fastest has some 20 periods.
        frequencies = np.geomspace(0.5, 50.0, self.width // 2).astype("float32")
        angles = ops.expand_dims(c_noise, -1) * frequencies  # (b, width / 2)
        return ops.concatenate([ops.cos(angles), ops.sin(angles)], axis=-1)

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape, self.width)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable("tfpdu")
class Condition(keras.layers.Layer):
    """[labels int[b], attributes int[b, j]] -> one-hot [b, sum of (values + 1)].

    The first place of each part is 'unknown'. One-hot rows times a matrix, rather than an embedding look-up, have a
    deterministic gradient on every device.
    """

    def __init__(self, classes: int, cardinalities: tuple[int, ...], **kwargs: Any):
        super().__init__(**kwargs)
        self.classes, self.cardinalities = classes, tuple(cardinalities)

    def call(self, inputs: Any) -> Any:
        labels, attributes = inputs
        parts = [ops.one_hot(labels + 1, self.classes + 1, dtype=self.compute_dtype)]
        for j, values in enumerate(self.cardinalities):
            parts.append(ops.one_hot(attributes[:, j] + 1, values + 1, dtype=self.compute_dtype))
        return ops.concatenate(parts, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes, "cardinalities": list(self.cardinalities)}


@keras.saving.register_keras_serializable("tfpdu")
class SelfAttention(keras.layers.Layer):
    """Softmax attention on stacked queries, keys and values: [b, h, w, 3c] -> [b, h, w, c].

    Heads have `head_width` channels. Queries and keys are normalised per head, so logits stay small in bfloat16.
    """

    def __init__(self, head_width: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.head_width = head_width

    def call(self, qkv: Any) -> Any:
        _, h, w, c3 = qkv.shape
        width, heads = c3 // 3, c3 // 3 // self.head_width
        parts = ops.reshape(qkv, (-1, h * w, 3, heads, self.head_width))
        q, k, v = (ops.transpose(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))  # (b, heads, h * w, head_width)
        q, k = (t * ops.rsqrt(ops.mean(ops.square(t), axis=-1, keepdims=True) + 1e-6) for t in (q, k))
        logits = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * self.head_width**-0.5  # (b, heads, h * w, h * w)
        out = ops.transpose(ops.matmul(ops.softmax(logits, axis=-1), v), (0, 2, 1, 3))
        return ops.reshape(out, (-1, h, w, width))

    def compute_output_shape(self, shape: Any) -> Any:
        return (*shape[:-1], shape[-1] // 3)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "head_width": self.head_width}
