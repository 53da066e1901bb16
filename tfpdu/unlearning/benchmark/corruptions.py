"""Pictures as they come when the world shifts: five corruptions of CIFAR-10-C at severity 3.

Reference:
  [1] Hendrycks, Dietterich. Benchmarking neural network robustness to common corruptions and perturbations. ICLR 2019.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

from tfpdu.common.seeds import rng
from tfpdu.common.validation import one_of


def _noise(images: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian, deviation .08 of the range; one draw for the set."""
    return images + 255 * 0.08 * rng("corruption", seed).standard_normal(images.shape)


def _blur(images: np.ndarray, seed: int) -> np.ndarray:
    """Gaussian, deviation .7 pixels."""
    return np.asarray(ndimage.gaussian_filter(images, (0, 0.7, 0.7, 0)))


def _contrast(images: np.ndarray, seed: int) -> np.ndarray:
    """A factor of .4 about each channel's mean."""
    mean = images.mean((1, 2), keepdims=True)
    return (images - mean) * 0.4 + mean


def _brightness(images: np.ndarray, seed: int) -> np.ndarray:
    """.15 of the range more, to the value in HSV, which is the largest of the channels."""
    value = images.max(-1, keepdims=True)
    brighter = np.minimum(value + 255 * 0.15, 255)
    return np.where(value > 0, images * brighter / np.maximum(value, 1), brighter)


def _jpeg(images: np.ndarray, seed: int) -> np.ndarray:
    """Compressed with quality 58."""
    return np.stack([_compressed(image) for image in images.astype(np.uint8)]).astype(np.float64)


CORRUPTIONS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "noise": _noise,
    "blur": _blur,
    "contrast": _contrast,
    "brightness": _brightness,
    "jpeg": _jpeg,
}


def corrupted(images: np.ndarray, name: str, seed: int = 0) -> np.ndarray:
    """Corrupted pictures uint8[n, h, w, c] of uint8[n, h, w, c], c = 1 or 3."""
    one_of(CORRUPTIONS, corruption=name)
    return np.clip(np.rint(CORRUPTIONS[name](images.astype(np.float64), seed)), 0, 255).astype(np.uint8)


def _compressed(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if grey else image).save(buffer, "JPEG", quality=58)
    read = np.asarray(Image.open(buffer))
    return read[..., None] if grey else read
