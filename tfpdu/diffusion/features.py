"""What distances between images are measured in: their pixels, or the features of a model.

A number measured in one extractor's features must never be compared with one in another's, published FID and KID
(Inception) included; so an extractor has a name, and results carry it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import did_you_mean, positive
from tfpdu.diffusion.compiled import compiled


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A named map from images to points.

    Attributes:
      name: says whose features these are, such as "resnet18 on cifar10 auxiliary rows".
      features: uint8[n, h, w, c] -> float[n, d], finite; row i should depend on image i alone.
    """

    name: str
    features: Callable[[np.ndarray], np.ndarray]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The features, checked: float[n, d].

        Raises:
          UserError: images that are not uint8[n, h, w, c]; features of another length, not finite or not a table.
        """
        images = checked_images(images)
        points = np.asarray(self.features(images))
        points = points.astype(np.float64) if points.dtype not in (np.float32, np.float64) else points
        if points.ndim != 2 or len(points) != len(images) or not points.shape[1]:
            raise UserError(
                f"extractor {self.name!r}: expected features of shape [{len(images)}, d], got {list(points.shape)}"
            )
        if not np.isfinite(points).all():
            raise UserError(f"extractor {self.name!r}: image {int(np.argwhere(~np.isfinite(points))[0, 0])} has NaN")
        return points


def _pixels(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255.0  # [n, h * w * c], float64


PIXELS = Extractor("pixels", _pixels)  # values in [0, 1]


def extractor_of(
    model: keras.Model,
    name: str,
    layer: str | None = None,
    preprocess: Callable[[np.ndarray], np.ndarray] | None = None,
    batch: int = 128,
) -> Extractor:
    """The features that a Keras model computes on the way to its answer.

    Args:
      model: functional or sequential, with one input [b, h, w, c].
      name: goes into every result.
      layer: the layer whose output is taken, flattened; by default the input of the last Dense layer.
      preprocess: uint8[b, h, w, c] -> what the model takes; by default float32 in 0..255.
      batch: images at a time; the last batch is filled up, so that equal images have equal features.

    Returns:
      An extractor of float32[n, d].

    Raises:
      UserError: no such layer; no Dense layer where none was named; a model whose layers are not a graph.
    """
    positive(batch=batch)
    graph = _graph(model, name, layer)
    run = compiled(lambda images: graph(images, training=False))

    def features(images: np.ndarray) -> np.ndarray:
        parts = [np.zeros((0, int(np.prod(graph.output_shape[1:]))), np.float32)]
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            filled = np.concatenate([part, np.zeros((batch - len(part), *part.shape[1:]), np.uint8)])
            ready = filled.astype(np.float32) if preprocess is None else preprocess(filled)
            out = keras.ops.cast(run(keras.ops.convert_to_tensor(ready)), "float32")
            parts.append(keras.ops.convert_to_numpy(out).reshape(batch, -1)[: len(part)])
        return np.concatenate(parts)

    return Extractor(name, features)


def checked_images(images: Any, like: np.ndarray | None = None) -> np.ndarray:
    """The images; raises unless they are uint8[n, h, w, c], of the size of `like` where that is given."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"images: expected uint8[n, h, w, c], got {images.dtype}{list(images.shape)}")
    if like is not None and images.shape[1:] != like.shape[1:]:
        raise UserError(f"images: {list(images.shape[1:])} cannot be compared with {list(like.shape[1:])}")
    return images


def _graph(model: keras.Model, name: str, layer: str | None) -> keras.Model:
    """The model from its input to where the features are taken."""
    if layer is not None:
        names = [one.name for one in model.layers]
        if layer not in names:
            raise UserError(f"extractor {name!r}: the model has no layer {layer!r}{did_you_mean(layer, names)}")
    dense = [one for one in model.layers if isinstance(one, keras.layers.Dense)]
    if layer is None and not dense:
        raise UserError(f"extractor {name!r}: the model has no Dense layer at its top level; name a layer")
    try:
        return keras.Model(model.inputs, dense[-1].input if layer is None else model.get_layer(layer).output)
    except (AttributeError, ValueError):
        raise UserError(f"extractor {name!r}: the model is no graph of layers; expected a functional one") from None
