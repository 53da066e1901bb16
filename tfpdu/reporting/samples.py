"""Pixel strips: a row of small pictures as one PNG data URI, at their own resolution."""

import base64
import io

import numpy as np
from PIL import Image


def strip(images: np.ndarray) -> str:
    """Joins pictures side by side, with transparent gaps, into one PNG.

    Args:
      images: uint8[k, h, w, c], c = 1 (grey) or 3. A picture of zeros alone is an empty slot and left transparent.

    Returns:
      A `data:image/png;base64,…` URI of a picture h high and k*w + (k-1)*gap wide.
    """
    k, h, w, _ = images.shape
    gap = max(1, w // 16)
    canvas = np.zeros((h, k * w + (k - 1) * gap, 4), np.uint8)  # [h, W, rgba]
    for index, image in enumerate(images):
        left = index * (w + gap)
        canvas[:, left : left + w, :3] = image  # one channel spreads to three
        canvas[:, left : left + w, 3] = 255 if image.any() else 0
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def grid(showcase: np.ndarray, gap: int = 1) -> np.ndarray:
    """One picture of all samples, a row per class, white gaps.

    Args:
      showcase: uint8[C, k, h, w, c].
      gap: pixels between two pictures.

    Returns:
      uint8[C*h + (C-1)*gap, k*w + (k-1)*gap, c].
    """
    rows, k, h, w, channels = showcase.shape
    canvas = np.full((rows * (h + gap) - gap, k * (w + gap) - gap, channels), 255, np.uint8)
    for row in range(rows):
        for column in range(k):
            top, left = row * (h + gap), column * (w + gap)
            canvas[top : top + h, left : left + w] = showcase[row, column]
    return canvas
