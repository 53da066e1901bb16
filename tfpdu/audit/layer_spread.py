"""The layer spread gap: how unequally a network's normalised activations spread in different classes.

For a normalisation layer, sigma_c is the spread of its normalised activations over the rows of class c, and the gap is
max_c sigma_c - min_c sigma_c [1, their fairness gap]. They conjecture that models with larger gaps are more vulnerable.

The abstract of [1] does not say what sigma is, so here it is chosen, and "std" or "variance" stands beside each number:
activations after normalising and before gamma and beta; over rows and positions, for each channel; then the mean over
channels; in evaluation mode, where batch normalisation uses its moving statistics.

Reference:
  [1] Tran, Woo. Fairness and robustness in machine unlearning. Companion of the ACM Web Conference 2025.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.validation import one_of, positive
from tfpdu.data.storage import Images
from tfpdu.ensemble.networks import compiled_graph, is_normalisation

SPREADS = ("std", "variance")

_KINDS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization, keras.layers.GroupNormalization)


@dataclasses.dataclass(frozen=True)
class LayerSpread:
    """Spreads of activations by layer and class, and the gaps between classes.

    Attributes:
      spread: "std" or "variance": what the numbers are.
      layers: names of the L normalisation layers, in the order in which the network comes to them.
      classes: int[K], the labels there are, rising.
      rows: int[K], how many rows each has.
      by_class: float64[L, K], sigma_c.
      gaps: float64[L], the largest less the smallest of each layer.
    """

    spread: str
    layers: tuple[str, ...]
    classes: np.ndarray
    rows: np.ndarray
    by_class: np.ndarray
    gaps: np.ndarray

    @property
    def mean_gap(self) -> float:
        """Over the layers."""
        return float(self.gaps.mean())


def layer_spread_gap(
    model: keras.Model, images: Images, labels: np.ndarray, *, spread: str = "std", batch: int = 250
) -> LayerSpread:
    """Measures the layer spread gap of each normalisation layer.

    Batch, layer and group normalisation of Keras and tfpdu's batch normalisation are found wherever they are, in
    functional, sequential and subclassed models, and models inside models. The memory needed is that of one batch; sums
    are float64.

    Args:
      model: any Keras model, on TensorFlow; it stays as it is.
      images: uint8 or float32 [n, h, w, c], in the model's own input units.
      labels: int[n]; at least two classes, of at least two rows each.
      spread: "std" or "variance", with the number of values as the divisor.
      batch: rows a call.

    Raises:
      UserError: there is no normalisation layer, or there are too few rows or classes.
    """
    one_of(SPREADS, spread=spread)
    return layer_spread_gaps(model, images, labels, batch=batch)[spread]


def layer_spread_gaps(
    model: keras.Model, images: Images, labels: np.ndarray, *, batch: int = 250
) -> dict[str, LayerSpread]:
    """`layer_spread_gap` by every name of a spread, from one pass over the rows."""
    positive(batch=batch)
    labels = np.asarray(labels)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise UserError(f"labels: expected int[{len(images)}], got {labels.dtype}{list(labels.shape)}")
    classes, place, rows = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2 or rows.min() < 2:
        few = f"class {classes[rows.argmin()]} has {rows.min()} row" if len(rows) else "there are no rows"
        raise UserError(f"labels: expected two classes or more of at least two rows each; {len(classes)} here, {few}")
    names, sums = _sums(model, images, place, len(classes), batch)
    by_class = {spread: np.stack([_sigma(*each, spread) for each in sums]) for spread in SPREADS}  # of [L, K]
    return {
        spread: LayerSpread(spread, names, classes, rows, sigma, np.ptp(sigma, axis=1))
        for spread, sigma in by_class.items()
    }


Sums = tuple[
    np.ndarray, np.ndarray, np.ndarray
]  # of a layer: values a channel [K], their sum and sum of squares [K, c]


def _sigma(count: np.ndarray, first: np.ndarray, second: np.ndarray, spread: str) -> np.ndarray:
    """The mean over channels of the spread, float64[K]."""
    mean = first / count[:, None]
    variance = np.maximum(second / count[:, None] - mean**2, 0)  # values are of order 1, so float64 loses nothing
    return (np.sqrt(variance) if spread == "std" else variance).mean(1)


def _sums(
    model: keras.Model, images: Images, place: np.ndarray, classes: int, batch: int
) -> tuple[tuple[str, ...], list[Sums]]:
    """The layers' names, and for each the sums over all rows, whose classes are int[n] from 0."""
    seen: dict[int, Any] = {}  # layer and its activations, as the graph is traced
    signature = [tf.TensorSpec((None, *images.shape[1:]), tf.float32), tf.TensorSpec((None,), tf.int32)]
    total: list[Sums] = []
    with _tapped(_normalisations(model), seen):
        compiled = compiled_graph(signature, _class_sums, model, seen, classes)
        for start in range(0, len(images), batch):
            part = slice(start, start + batch)
            found = compiled(np.asarray(images[part], np.float32), place[part].astype(np.int32))
            new = [tuple(value.numpy() for value in layer) for layer in found]
            total = [tuple(map(np.add, *pair)) for pair in zip(total, new, strict=True)] if total else new
    taken: Counter[str] = Counter()
    names = []
    for layer, _ in seen.values():
        taken[layer.name] += 1  # in models inside models, two may have one name
        names.append(layer.name if taken[layer.name] == 1 else f"{layer.name} ({taken[layer.name]})")
    return tuple(names), total


def _normalisations(model: keras.Model) -> list[Any]:
    layers = model._flatten_layers(include_self=False, recursive=True)
    found = [layer for layer in layers if isinstance(layer, _KINDS) or is_normalisation(layer)]
    if not found:
        raise UserError(f"model: {type(model).__name__} has no batch, layer or group normalisation")
    return found


@contextlib.contextmanager
def _tapped(layers: list[Any], seen: dict[int, Any]) -> Iterator[None]:
    """Layers that note what they give before gamma and beta, each time they are called.

    They are asked a second time with a gamma of 1 and a beta of 0: dividing by gamma would not do where it is 0.
    """
    for layer in layers:
        layer.__dict__["call"] = _tap(layer, layer.call, seen)  # not by setattr, which Keras watches
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["call"]


def _tap(layer: Any, call: Callable[..., Any], seen: dict[int, Any]) -> Callable[..., Any]:
    affine = [(getattr(layer, name, None), value) for name, value in (("gamma", 1.0), ("beta", 0.0))]
    plain = [
        (weight, keras.ops.full(weight.shape, value, weight.dtype)) for weight, value in affine if weight is not None
    ]

    def tapped(x: Any, *arguments: Any, **options: Any) -> Any:
        with keras.StatelessScope(state_mapping=plain):
            normalised = call(x, *arguments, **options)
        seen.setdefault(id(layer), (layer, []))[1].append(_by_channel(layer, normalised))
        return call(x, *arguments, **options)

    return tapped


def _by_channel(layer: Any, x: Any) -> Any:
    """Activations [b, ...] as float64[b, positions, c]."""
    axis = getattr(layer, "axis", -1)
    x = keras.ops.moveaxis(x, axis[-1] if isinstance(axis, (list, tuple)) else axis, -1)
    return tf.reshape(tf.cast(x, tf.float64), (tf.shape(x)[0], -1, x.shape[-1]))


def _class_sums(model: Any, seen: dict[int, Any], classes: int, images: Any, place: Any) -> list[Any]:
    """For each layer, in the order of `seen`, the `Sums` of a batch; to be compiled."""
    seen.clear()
    model(images, training=False)
    if not seen:
        raise UserError("model: it calls none of its normalisation layers")
    member = tf.one_hot(place, classes, dtype=tf.float64)  # [b, K]
    sums = []
    for _, parts in seen.values():
        x = tf.concat(parts, 1)  # [b, positions, c]; a shared layer is called more than once
        count = tf.reduce_sum(member, 0) * tf.cast(tf.shape(x)[1], tf.float64)
        powers = (tf.matmul(member, tf.reduce_sum(x**power, 1), transpose_a=True) for power in (1, 2))
        sums.append((count, *powers))
    return sums
