"""What any Keras network is asked: its answers, their gradients by the pixels, and its layers."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_SMALLEST = 1e-30  # probabilities below count as this: the logarithm and its gradient stay finite


def answers(model: keras.Model, images: Any, batch: int = 500) -> np.ndarray:
    """What the model gives for pictures [n, h, w, c] in evaluation mode, float32[n, C]."""
    compiled = compiled_graph([tf.TensorSpec((None, *images.shape[1:]), tf.float32)], evaluate, model)
    return in_batches(compiled, images, batch)


def in_batches(compiled: Callable[[Any], Any], images: Any, batch: int = 500) -> np.ndarray:
    """What a compiled network gives for pictures [n, h, w, c], which are read batch by batch: float32[n, C]."""
    parts = (np.asarray(images[i : i + batch], np.float32) for i in range(0, len(images), batch))
    return np.concatenate([compiled(part).numpy() for part in parts])


def compiled_graph(signature: Any, function: Callable[..., Any], *bound: Any) -> Any:
    """A TensorFlow function of the arguments after `bound`.

    A partial and not a lambda: TensorFlow warns of many graphs by one piece of code, which many models rightly give.
    Models are not rewritten by autograph, as Keras does not when it trains.

    Args:
      signature: of the arguments, one graph for all sizes of batch; None = one graph for each.
      function: to compile.
      *bound: its first arguments.
    """
    return tf.function(functools.partial(function, *bound), signature, autograph=False)


def evaluate(model: Any, images: Any) -> Any:
    """What the model gives for pictures [b, h, w, c] in evaluation mode, float32[b, C]; to be compiled."""
    return tf.cast(model(images, training=False), tf.float32)


def log_probabilities(probabilities: Any) -> Any:
    """The logarithms of probabilities [b, C], finite, also their gradients: softmax of them gives these back."""
    return tf.math.log(tf.maximum(probabilities, _SMALLEST))


def image_gradient(model: Any, images: Any, labels: Any, from_logits: bool = True) -> tuple[Any, Any]:
    """Where a row's loss rises fastest.

    The loss is log((1 - p) / p) of the label's probability p. It grows with the cross-entropy, so its gradient points
    the same way; but the cross-entropy's own rounds to 0 in float32 where the model is sure.

    Args:
      model: pictures to logits or probabilities, in evaluation mode; it may be any callable with `training`.
      images: tensor float32[b, h, w, c].
      labels: tensor int32[b].
      from_logits: the model gives logits; otherwise probabilities.

    Returns:
      What the model gives, float32[b, C], and the gradients of each row's loss by its own pixels [b, h, w, c].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        given = evaluate(model, images)
        logits = given if from_logits else log_probabilities(given)
        own = tf.one_hot(labels, logits.shape[-1])  # [b, C]
        odds = tf.reduce_logsumexp(logits - 1e9 * own, axis=1) - tf.reduce_sum(logits * own, axis=1)  # [b]
        loss = tf.reduce_sum(odds)  # a sum, so that the gradient of a row does not depend on the others
    # Zeros where rounding and the like cut pixels off: such a model has no gradient, and is no error.
    return given, tape.gradient(loss, images, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def leaves(model: keras.Model) -> list[Any]:
    """The layers that hold weights themselves, from the input to the output as far as the model has an order."""
    found: list[Any] = []

    def walk(layer: Any) -> None:
        children = layer.layers if isinstance(layer, keras.Model) else layer._layers
        own = {id(w) for w in layer.weights} - {id(w) for child in children for w in child.weights}
        if own and layer not in found:
            found.append(layer)
        for child in children:
            walk(child)

    walk(model)
    return found


def is_normalisation(layer: Any) -> bool:
    """Whether a layer keeps moving statistics of batches."""
    return hasattr(layer, "moving_mean") and hasattr(layer, "moving_variance")


def is_product(layer: Any) -> bool:
    """Whether a layer multiplies by a kernel: convolutions and dense layers of all kinds."""
    return hasattr(layer, "kernel") or hasattr(layer, "_kernel")


@contextlib.contextmanager
def frozen_statistics(layers: Sequence[Any]) -> Iterator[None]:
    """Batch normalisation layers that normalise by their moving statistics, and keep them, also in training mode.

    This is what `trainable = False` means to batch normalisation in Keras (and not in PyTorch). It only has to hold
    while a graph is traced.
    """
    before = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = False
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.trainable = value
