"""A convolution that does not multiply by padding where the picture has become tiny."""

from typing import Any

import keras
from keras import ops

_POSITIONS = 4  # up to this many output pixels a matrix product each is faster than a convolution


@keras.saving.register_keras_serializable("tfpdu")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with "same" padding, the same result, and a shorter way for maps of at most 2 x 2 pixels.

    On a 1 x 1 map only the centre of a 3 x 3 kernel meets a pixel; a convolution kernel nevertheless computes all
    nine products and, what costs more, their gradients. Here each output pixel of a tiny map is one matrix product
    of the pixels that exist with the taps that meet them. In a ResNet18 on 32 x 32 pictures with the large stem,
    half of the layers end there.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolves [b, h, w, c] with [kh, kw, c, f] to [b, h', w', f]."""
        _, height, width, channels = inputs.shape
        if not height or not width or not self._is_tiny(height, width):
            return super().convolution_op(inputs, kernel)
        rows = _reach(height, self.kernel_size[0], self.strides[0])
        columns = _reach(width, self.kernel_size[1], self.strides[1])
        # One tensor a tap, and no slices of the kernel: their gradients are padded to full size, one by one.
        taps = ops.unstack(ops.reshape(kernel, (-1, channels, self.filters)), axis=0)  # kh * kw of [c, f]
        pixels = [self._pixel(inputs, taps, row, column) for row in rows for column in columns]  # each [b, f]
        shape = (-1, len(rows), len(columns), self.filters)
        return ops.reshape(pixels[0] if len(pixels) == 1 else ops.stack(pixels, 1), shape)

    def _pixel(self, inputs: Any, taps: list[Any], row: "_Reach", column: "_Reach") -> Any:
        """One output pixel [b, f]: what is seen, as a vector, times the taps that see it."""
        width = self.kernel_size[1]
        seeing = [taps[i * width + j] for i in row.taps for j in column.taps]
        if (len(row.pixels), len(column.pixels)) != inputs.shape[1:3]:
            inputs = inputs[:, row.pixels.start : row.pixels.stop, column.pixels.start : column.pixels.stop]
        seen = ops.reshape(inputs, (-1, len(seeing) * inputs.shape[-1]))  # [b, taps * c]
        return ops.matmul(seen, seeing[0] if len(seeing) == 1 else ops.concatenate(seeing, 0))

    def _is_tiny(self, height: int, width: int) -> bool:
        plain = self.padding == "same" and self.data_format == "channels_last"
        plain = plain and self.groups == 1 and self.dilation_rate == (1, 1)
        return plain and -(-height // self.strides[0]) * -(-width // self.strides[1]) <= _POSITIONS


class _Reach:
    """Along one axis: the input pixels that an output pixel sees, and the taps of the kernel that see them."""

    def __init__(self, start: int, size: int, length: int):
        first, last = max(start, 0), min(start + size, length)
        self.pixels, self.taps = range(first, last), range(first - start, last - start)


def _reach(length: int, size: int, stride: int) -> list[_Reach]:
    """One entry per output pixel; "same" padding puts the odd pixel at the end."""
    count = -(-length // stride)
    before = max((count - 1) * stride + size - length, 0) // 2
    return [_Reach(i * stride - before, size, length) for i in range(count)]
