"""Steps of an attack within a ball around a picture.

References:
  [1] Madry, Makelov, Schmidt, Tsipras, Vladu. Towards deep learning models resistant to adversarial attacks. ICLR 2018.
"""

from typing import Any

import tensorflow as tf

NORMS = ("linf", "l2")

_DIRECTION = 1e-10  # added to a gradient's norm, so that a row without one stays where it is


def ascend(start: Any, now: Any, gradient: Any, step: Any, radius: Any, pixel_max: Any, norm: str) -> Any:
    """One step of projected gradient ascent [1]: along the steepest direction, back into the ball and the pixels.

    Args:
      start: the centres of the balls, float32[b, h, w, c].
      now: the pictures as they are, within the balls.
      gradient: of what is to rise, [b, h, w, c].
      step: the step's length in pixels, one or [b].
      radius: of the balls in pixels, one or [b].
      pixel_max: the largest pixel; the smallest is 0.
      norm: "linf": steps by the gradient's sign; "l2": by the gradient over its length.

    Returns:
      float32[b, h, w, c], no further from `start` than `radius`.
    """
    step, radius = (tf.reshape(tf.cast(value, tf.float32), (-1, 1, 1, 1)) for value in (step, radius))
    if norm == "linf":
        shift = tf.clip_by_value(now + step * tf.sign(gradient), start - radius, start + radius)
        return tf.clip_by_value(shift, 0.0, pixel_max)
    shift = now - start + step * gradient / (_length(gradient) + _DIRECTION)
    # So far inside the ball that rounding start + shift to float32 does not lead out of it.
    inside = tf.maximum(radius - pixel_max * 2.0**-22, radius / 2)
    shift = shift * tf.minimum(1.0, inside / tf.maximum(_length(shift), 1e-30))
    return tf.clip_by_value(start + shift, 0.0, pixel_max)


def _length(x: Any) -> Any:
    """Euclidean, of each picture [b, h, w, c]: [b, 1, 1, 1]."""
    return tf.norm(tf.reshape(x, (tf.shape(x)[0], -1)), axis=1)[:, None, None, None]
