"""Encoded pictures to pixels inside the graph, as the data rooms read them: checked, decoded, cut, resized."""

import dataclasses
from typing import Any

from tfpdu.common import UserError
from tfpdu.common.validation import one_of

MEGAPIXELS = 25  # of an encoded picture at most; more is refused by its header, before anything is decoded
SHRINKING = ("box", "area")
ALPHA = ("drop", "white")


@dataclasses.dataclass(frozen=True)
class PictureReader:
    """How encoded JPEG and PNG pictures become those that the networks learned from.

    Attributes:
      shape: (h, w, c) of the networks' pictures; c is 1 (grey) or 3 for encoded pictures.
      shrink: "box": Pillow's filter, as one's own pictures and CIFAR-10 are resized; "area": exact areas, as CelebA.
        What grows is interpolated linearly. Both cut the middle in the networks' proportions out first.
      alpha: "drop" leaves the colours of transparent pixels as they are; "white" lays them on white, as a folder of
        one's own pictures is read.
    """

    shape: tuple[int, int, int]
    shrink: str = "box"
    alpha: str = "drop"

    def __post_init__(self) -> None:
        one_of(SHRINKING, shrink=self.shrink)
        one_of(ALPHA, alpha=self.alpha)
        if len(self.shape) != 3 or self.shape[2] not in (1, 3):
            raise UserError(f"serving: expected pictures of 1 or 3 channels, got {list(self.shape)}")

    def read(self, encoded: Any) -> Any:
        """One encoded picture, a scalar string tensor, to uint8[h, w, c]; for use inside a tf.function.

        EXIF orientation is not applied. In a served graph an assertion or decoding error names what is wrong.
        """
        import tensorflow as tf

        is_png = tf.equal(tf.strings.substr(encoded, 0, 8), b"\x89PNG\r\n\x1a\n")
        is_jpeg = tf.equal(tf.strings.substr(encoded, 0, 3), b"\xff\xd8\xff")
        known = _assert(is_png | is_jpeg, "image_bytes: expected an encoded JPEG or PNG")
        with tf.control_dependencies([known]):
            size = tf.cond(is_png, lambda: _png_size(encoded), lambda: _jpeg_size(encoded))  # [height, width]
        limit = tf.constant(MEGAPIXELS * 10**6, tf.int64)
        fits = tf.reduce_all(size > 0) & tf.reduce_all(size <= limit) & (tf.reduce_prod(size) <= limit)
        small = _assert(
            fits, f"image_bytes: a picture of more than {MEGAPIXELS} megapixels is refused; its size:", size
        )
        with tf.control_dependencies([small]):
            encoded = tf.identity(encoded)
        pixels = tf.cond(is_png, lambda: self._png(encoded), lambda: self._jpeg(encoded))  # uint8[H, W, c]
        return tf.ensure_shape(self._fitted(pixels), self.shape)

    def _png(self, encoded: Any) -> Any:
        import tensorflow as tf

        channels = self.shape[2]
        if self.alpha == "drop":
            return tf.io.decode_png(encoded, channels)
        values = tf.cast(tf.io.decode_png(encoded, 4), tf.float32)  # [H, W, 4]
        opaque = values[..., 3:] / 255
        colours = values[..., :3] * opaque + 255 * (1 - opaque)
        if channels == 1:
            colours = tf.image.rgb_to_grayscale(colours)
        return tf.cast(tf.floor(colours + 0.5), tf.uint8)

    def _jpeg(self, encoded: Any) -> Any:
        import tensorflow as tf

        return tf.io.decode_jpeg(encoded, self.shape[2], dct_method="INTEGER_ACCURATE")

    def _fitted(self, pixels: Any) -> Any:
        """The middle of uint8[H, W, c] in the networks' proportions, in their size."""
        return _by_area(pixels, self.shape) if self.shrink == "area" else _by_box(pixels, self.shape)


def reader_of(source: str, shape: tuple[int, int, int]) -> PictureReader:
    """The reader that treats pictures as the data set of this name was read, see `tfpdu.data.load`."""
    return PictureReader(
        shape, "area" if source == "celeb_a" else "box", "white" if source == "image_folder" else "drop"
    )


def _assert(condition: Any, words: str, *values: Any) -> Any:
    import tensorflow as tf

    return tf.debugging.Assert(condition, [words, *values])


def _png_size(encoded: Any) -> Any:
    """Width and height are the first two numbers of the header chunk (PNG specification, 11.2.1): int64[2]."""
    import tensorflow as tf

    whole = _assert(tf.strings.length(encoded) >= 33, "image_bytes: a PNG that ends within its header")
    with tf.control_dependencies([whole]):
        head = tf.strings.substr(encoded, 16, 8)
    width_height = tf.io.decode_raw(head, tf.int32, little_endian=False)
    return tf.cast(tf.reverse(tf.reshape(width_height, [2]), [0]), tf.int64)


def _jpeg_size(encoded: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.image.extract_jpeg_shape(encoded)[:2], tf.int64)


def _by_area(pixels: Any, shape: tuple[int, int, int]) -> Any:
    import tensorflow as tf

    high, wide = tf.shape(pixels)[0], tf.shape(pixels)[1]
    scale = tf.minimum(high / shape[0], wide / shape[1])
    rows, columns = (tf.cast(tf.maximum(tf.floor(scale * side), 1), tf.int32) for side in shape[:2])
    middle = pixels[(high - rows) // 2 :, (wide - columns) // 2 :][:rows, :columns]
    shrunk = tf.cond(
        scale >= 1,
        lambda: tf.image.resize(middle, shape[:2], "area"),
        lambda: tf.image.resize(middle, shape[:2], "bilinear"),
    )
    return tf.cast(tf.round(shrunk), tf.uint8)


def _by_box(pixels: Any, shape: tuple[int, int, int]) -> Any:
    """As Pillow's `ImageOps.fit`: rows first, rounded to grey levels, then columns."""
    import tensorflow as tf

    high, wide = tf.shape(pixels)[0], tf.shape(pixels)[1]
    scale = tf.minimum(high / shape[0], wide / shape[1])  # float64, source pixels per pixel
    across = _resampling(wide, shape[1], scale)  # [w, W]
    down = _resampling(high, shape[0], scale)  # [h, H]
    values = tf.cast(pixels, tf.float32)  # [H, W, c]
    values = _levels(tf.einsum("oi,hic->hoc", across, values))  # [H, w, c]
    values = _levels(tf.einsum("oi,iwc->owc", down, values))  # [h, w, c]
    return tf.cast(values, tf.uint8)


def _levels(values: Any) -> Any:
    import tensorflow as tf

    return tf.clip_by_value(tf.floor(values + 0.5), 0, 255)


def _resampling(length: Any, out: int, scale: Any) -> Any:
    """float32[out, length], rows sum to 1: a box where the picture shrinks, else a triangle of one pixel."""
    import tensorflow as tf

    start = (tf.cast(length, tf.float64) - scale * out) / 2  # of the part that is cut out, in source pixels
    centre = start + (tf.range(out, dtype=tf.float64) + 0.5) * scale
    place = tf.range(tf.cast(length, tf.float64), dtype=tf.float64) + 0.5
    reach = (place[None] - centre[:, None]) / tf.maximum(scale, 1)  # [out, length]
    box = tf.cast((reach > -0.5) & (reach <= 0.5), tf.float64)
    weights = tf.where(scale >= 1, box, tf.maximum(1 - tf.abs(reach), 0))
    return tf.cast(weights / tf.reduce_sum(weights, 1, keepdims=True), tf.float32)
