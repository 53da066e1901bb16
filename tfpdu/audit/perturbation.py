"""Images perturbed against a Keras model, for the adversarial-confidence attack.

Reference:
  [1] Madry, Makelov, Schmidt, Tsipras, Vladu. Towards deep learning models resistant to adversarial attacks. ICLR 2018.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfpdu.audit.ball import ascend
from tfpdu.common.errors import UserError
from tfpdu.common.validation import positive
from tfpdu.ensemble.networks import image_gradient


def perturbed_images(
    model: Any,
    images: Any,
    labels: Any,
    *,
    budget: int = 8,
    step: float = 2.0,
    steps: int = 10,
    from_logits: bool = True,
    block_rows: int = 256,
) -> np.ndarray:
    """Images that raise the model's loss on the true class: projected gradient descent in an l-infinity ball [1].

    `steps` times the pixels go by `step` along the sign of the gradient, back into the ball of `budget` around the
    image and into 0..255. It starts at the image itself, so the outcome is the same every time. The last image of the
    walk is rounded, which keeps it in the ball.

    Args:
      model: a Keras model, pixels 0..255 float32[m, h, w, c] to logits or probabilities [m, C]; asked in inference
        mode, on TensorFlow.
      images: uint8[n, h, w, c].
      labels: int[n].
      budget: whole number of grey levels; [1] has 8 for CIFAR-10. For a robustly trained model that of its training.
      step: grey levels a step.
      steps: at least 1.
      from_logits: the model's output is logits; otherwise probabilities.
      block_rows: images that are perturbed at once.

    Returns:
      uint8[n, h, w, c], none of whose pixels is more than `budget` from the image's.
    """
    positive(budget=budget, step=step, steps=steps, block_rows=block_rows)
    labels = np.asarray(labels)
    if budget != int(budget):
        raise UserError(f"budget: expected a whole number of grey levels, got {budget}")
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise UserError(f"perturbed_images: expected labels int[{len(images)}], got {labels.dtype}{list(labels.shape)}")

    def walk(block: np.ndarray, classes: np.ndarray) -> np.ndarray:
        start = x = tf.constant(block, tf.float32)
        for _ in range(steps):
            _, gradient = image_gradient(model, x, classes, from_logits)
            x = ascend(start, x, gradient, step, budget, 255.0, "linf")
        return np.rint(x.numpy()).astype(np.uint8)

    out = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), block_rows):
        part = slice(start, start + block_rows)
        out[part] = walk(np.asarray(images[part]), labels[part])
    return out
