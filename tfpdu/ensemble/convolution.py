"""A convolution that does not multiply by padding where the picture has become tiny."""

from typing import Any

import keras
from keras import ops

_POSITIONS = 4  # up to this many output pixels, matrix products are faster than a convolution kernel


@keras.saving.register_keras_serializable("tfpdu")
class Convolution(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with "same" padding: the same result, by a shorter way for maps of at most 2 x 2 pixels.

    On a 1 x 1 map only the centre of a 3 x 3 kernel meets a pixel; a convolution kernel nevertheless computes all
    nine products and, what costs more, their gradients. In a ResNet18 on 32 x 32 pictures with the large stem, half
    of the layers end there. Here only the pairs of an input pixel and an output pixel that exist are multiplied.
    """

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolves [b, h, w, c] with [kh, kw, c, f] to [b, h', w', f]."""
        _, height, width, _ = inputs.shape
        if not height or not width or not self._is_tiny(height, width):
            return super().convolution_op(inputs, kernel)
        return _convolve_tiny(inputs, kernel, self.strides)

    def _is_tiny(self, height: int, width: int) -> bool:
        plain = self.padding == "same" and self.data_format == "channels_last"
        plain = plain and self.groups == 1 and self.dilation_rate == (1, 1)
        return plain and -(-height // self.strides[0]) * -(-width // self.strides[1]) <= _POSITIONS


def _convolve_tiny(inputs: Any, kernel: Any, strides: tuple[int, int]) -> Any:
    """Convolution by one matrix product an output pixel, and gradients by one an input pixel and one a tap.

    All sums run inside a matrix product. Left to automatic differentiation they would become AddN operations, and
    TensorFlow's AddN adds three or more terms in an order that depends on which thread was first, op determinism
    or not.
    """
    _, height, width, channels = inputs.shape
    rows, columns, _, filters = kernel.shape
    high, wide = -(-height // strides[0]), -(-width // strides[1])
    # (input pixel, output pixel, tap), for each pair that meets
    meetings = [
        (top * width + left, row * wide + column, y * columns + x)
        for row, top, y in _meetings(height, rows, strides[0])
        for column, left, x in _meetings(width, columns, strides[1])
    ]

    @ops.custom_gradient
    def convolve(inputs: Any, flat: Any) -> Any:
        pixels = ops.unstack(ops.reshape(inputs, (-1, height * width, channels)), height * width, axis=1)  # [b, c] each
        taps = ops.unstack(flat, rows * columns, axis=0)  # [c, f] each
        outputs = []  # [b, f] each
        for pixel in range(high * wide):
            met = [(i, t) for i, o, t in meetings if o == pixel]
            outputs.append(ops.matmul(_joined([pixels[i] for i, _ in met], 1), _joined([taps[t] for _, t in met], 0)))

        def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any]:
            upstream = arguments[0] if upstream is None else upstream  # [b, h', w', f]
            above = ops.unstack(ops.reshape(upstream, (-1, high * wide, filters)), high * wide, axis=1)  # [b, f] each
            to_pixels, to_taps = [], []
            for pixel in range(height * width):
                met = [(o, t) for i, o, t in meetings if i == pixel]
                seen = [ops.transpose(_joined([taps[t] for _, t in met], 1))] if met else []  # [meetings * f, c]
                to_pixels += [ops.matmul(_joined([above[o] for o, _ in met], 1), s) for s in seen]
                to_pixels += [] if met else [ops.zeros_like(pixels[pixel])]
            for tap in range(rows * columns):
                met = [(i, o) for i, o, t in meetings if t == tap]
                lit = [ops.transpose(_joined([pixels[i] for i, _ in met], 0))] if met else []  # [c, meetings * b]
                to_taps += [ops.matmul(s, _joined([above[o] for _, o in met], 0)) for s in lit]
                to_taps += [] if met else [ops.zeros_like(taps[tap])]
            return (
                ops.reshape(ops.stack(to_pixels, 1), (-1, height, width, channels)),
                ops.stack(to_taps, 0),
            )

        return ops.reshape(ops.stack(outputs, 1), (-1, high, wide, filters)), gradient

    # The reshaping reads the variable here: a custom gradient takes tensors only.
    return convolve(inputs, ops.reshape(kernel, (rows * columns, channels, filters)))


def _meetings(length: int, size: int, stride: int) -> list[tuple[int, int, int]]:
    """Along one axis, (output, input, tap) for each pair that meets; "same" padding puts an odd pixel at the end."""
    count = -(-length // stride)
    before = max((count - 1) * stride + size - length, 0) // 2
    reach = [(o, o * stride - before + tap, tap) for o in range(count) for tap in range(size)]
    return [(o, i, tap) for o, i, tap in reach if 0 <= i < length]


def _joined(parts: list[Any], axis: int) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis)
