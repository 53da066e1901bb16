"""The network F of the denoiser: a small U-Net that knows the noise level, the class and the attributes.

What makes it quick on a CPU: blocks of fold x fold pixels are folded into channels before the first convolution, there
is one block a level, and x / rms(x) over the channels of a pixel stands where others have a group normalisation (no
reduction over the image). Layers come from Keras alone, so the network runs on any of its backends.

References: Karras et al. (2018), "Progressive growing of GANs", section 4.2 (pixel normalisation); Perez et al. (2018),
"FiLM"; Karras et al. (2022), appendix F.1 (zero-initialised last convolutions).
"""

from typing import Any

import keras

from tfpdu.common.seeds import keras_seed
from tfpdu.diffusion.architecture import HEAD_WIDTH, Architecture
from tfpdu.diffusion.layers import Condition, FiLM, Fold, NoiseFeatures, PixelNorm, SelfAttention, Unfold


def build_network(architecture: Architecture, seed: int = 0) -> keras.Model:
    """Builds F(c_in * z; c_noise, labels, attributes).

    Args:
      architecture: shapes and options.
      seed: of the initial weights; equal seeds give equal weights.

    Returns:
      A functional Keras model with inputs [float[b, h, w, c], float[b], int[b], int[b, j]] and output
      float[b, h, w, c]. The output is exactly 0 before training, since the last convolution starts at zero.
    """
    return _Builder(architecture, seed).denoiser()


def build_classifier(architecture: Architecture, values: int, seed: int = 0) -> keras.Model:
    """Builds a noise-aware classifier from the denoiser's way down, with a linear layer on all that arrives below.

    Args:
      architecture: shapes and options; its classes and attributes are not used.
      values: the number of values to tell apart.
      seed: of the initial weights; equal seeds give equal weights.

    Returns:
      A functional Keras model with inputs [c_in * z: float[b, h, w, c], c_noise: float[b]] and output float[b, values].
      The output is exactly 0 before training.
    """
    return _Builder(architecture, seed).classifier(values)


class _Builder:
    """Keeps what all layers share: the compute precision, the seed and the embedding."""

    def __init__(self, architecture: Architecture, seed: int):
        self.a, self.seed = architecture, seed
        self.dtype = architecture.precision  # a name of a Keras dtype policy

    def denoiser(self) -> keras.Model:
        """F, see `build_network`."""
        a = self.a
        image = keras.Input(a.image_shape, dtype="float32", name="image")
        c_noise = keras.Input((), dtype="float32", name="c_noise")
        labels = keras.Input((), dtype="int32", name="labels")
        attributes = keras.Input((len(a.cardinalities),), dtype="int32", name="attributes")
        self.vector = self._embed(c_noise, [labels, attributes])

        folded = Fold(a.fold, dtype=self.dtype, name="fold")(image)  # (b, h / fold, w / fold, c * fold^2)
        x, skips = self._down(folded)
        x = self._block(x, a.widths[-1], "middle")
        for level, width in reversed(list(enumerate(a.widths))):
            for block in range(a.blocks):
                x = keras.layers.Concatenate(dtype=self.dtype, name=f"skip{level}_{block}")([x, skips.pop()])
                x = self._block(x, width, f"up{level}_{block}")
            if level:
                x = keras.layers.UpSampling2D(2, dtype=self.dtype, name=f"up{level}")(x)
        x = keras.layers.Activation("silu", dtype=self.dtype, name="last_silu")(self._norm(x, "last_norm"))
        # The last convolution sees the noisy pixels themselves: at low noise its answer is mostly a filter of them,
        # which a narrow network would have to carry through all its layers.
        pixels = FiLM(dtype=self.dtype, name="pixels_film")(
            [folded, self._dense(2 * folded.shape[-1], "pixels_scale", zero=True)(self.vector)]
        )
        x = keras.layers.Concatenate(dtype=self.dtype, name="pixels")([x, pixels])
        x = self._conv(a.image_shape[-1] * a.fold**2, "last", zero=True)(x)
        x = Unfold(a.fold, dtype=self.dtype, name="unfold")(x)  # (b, h, w, c)
        return keras.Model([image, c_noise, labels, attributes], x, name="denoiser")

    def classifier(self, values: int) -> keras.Model:
        """See `build_classifier`."""
        image = keras.Input(self.a.image_shape, dtype="float32", name="image")
        c_noise = keras.Input((), dtype="float32", name="c_noise")
        self.vector = self._embed(c_noise)
        x, _ = self._down(Fold(self.a.fold, dtype=self.dtype, name="fold")(image))
        x = keras.layers.Activation("silu", dtype=self.dtype, name="last_silu")(self._norm(x, "last_norm"))
        x = keras.layers.Flatten(dtype=self.dtype, name="flat")(x)
        return keras.Model([image, c_noise], self._dense(values, "logits", zero=True)(x), name="noisy_classifier")

    def _down(self, x: Any) -> tuple[Any, list[Any]]:
        """The way down: folded pixels (b, h, w, c) -> (b, lowest h, lowest w, widths[-1]), and all blocks' outputs."""
        x = self._conv(self.a.widths[0], "first")(x)
        skips = []
        for level, width in enumerate(self.a.widths):
            if level:
                x = keras.layers.AveragePooling2D(2, dtype=self.dtype, name=f"down{level}")(x)
            for block in range(self.a.blocks):
                x = self._block(x, width, f"down{level}_{block}")
                skips.append(x)
        return self._attention(x, "attention") if self.a.attention else x, skips

    def _embed(self, c_noise: Any, condition: list[Any] | None = None) -> Any:
        """One vector (b, embedding) of the noise level and, for [labels, attributes], of all that is known."""
        width, dtype = self.a.embedding, self.dtype
        noise = NoiseFeatures(64, dtype="float32", name="noise_features")(c_noise)  # (b, 64)
        x = self._dense(width, "noise")(noise)
        if condition is not None:
            known = Condition(self.a.classes, self.a.cardinalities, dtype=dtype, name="condition")(condition)
            # One-hot rows select rows of this kernel: one learned vector per class and value, and one per 'unknown'.
            table = keras.layers.Dense(
                width,
                use_bias=False,
                kernel_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=keras_seed(self.seed, "table")),
                dtype=dtype,
                name="table",
            )
            x = keras.layers.Add(dtype=dtype, name="embedding_sum")([x, table(known)])
        x = keras.layers.Activation("silu", dtype=dtype, name="embedding_silu1")(x)
        return keras.layers.Activation("silu", dtype=dtype, name="embedding_silu2")(self._dense(width, "embedding")(x))

    def _block(self, x: Any, width: int, name: str) -> Any:
        """Residual block with FiLM: (b, h, w, any) -> (b, h, w, width)."""
        y = keras.layers.Activation("silu", dtype=self.dtype, name=f"{name}_silu1")(self._norm(x, f"{name}_norm1"))
        y = self._norm(self._conv(width, f"{name}_conv1")(y), f"{name}_norm2")
        y = FiLM(dtype=self.dtype, name=f"{name}_film")(
            [y, self._dense(2 * width, f"{name}_scale", zero=True)(self.vector)]
        )
        y = keras.layers.Activation("silu", dtype=self.dtype, name=f"{name}_silu2")(y)
        y = self._conv(width, f"{name}_conv2", zero=True)(y)
        if x.shape[-1] != width:
            x = self._conv(width, f"{name}_project", size=1)(x)
        return keras.layers.Add(dtype=self.dtype, name=f"{name}_add")([x, y])

    def _attention(self, x: Any, name: str) -> Any:
        """Residual self-attention over all positions: (b, h, w, width) -> same."""
        width = x.shape[-1]
        y = self._dense(3 * width, f"{name}_qkv")(self._norm(x, f"{name}_norm"))
        y = SelfAttention(HEAD_WIDTH, dtype=self.dtype, name=name)(y)
        return keras.layers.Add(dtype=self.dtype, name=f"{name}_add")(
            [x, self._dense(width, f"{name}_out", zero=True)(y)]
        )

    def _norm(self, x: Any, name: str) -> Any:
        return PixelNorm(dtype=self.dtype, name=name)(x)

    def _conv(self, width: int, name: str, size: int = 3, zero: bool = False) -> keras.layers.Layer:
        return keras.layers.Conv2D(
            width, size, padding="same", kernel_initializer=self._kernel(name, zero), dtype=self.dtype, name=name
        )

    def _dense(self, width: int, name: str, zero: bool = False) -> keras.layers.Layer:
        return keras.layers.Dense(width, kernel_initializer=self._kernel(name, zero), dtype=self.dtype, name=name)

    def _kernel(self, name: str, zero: bool) -> keras.initializers.Initializer:
        if zero:
            return keras.initializers.Zeros()
        return keras.initializers.LecunNormal(seed=keras_seed(self.seed, "init", name))
