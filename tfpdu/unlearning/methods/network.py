"""Copies of networks, and the weights they start from."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError, seeds
from tfpdu.ensemble.networks import log_probabilities


class LogProbabilities(keras.Model):
    """A network that gives probabilities, with their logarithms as logits; it shares the network's weights.

    Args:
      inner: images to probabilities [b, C].
    """

    def __init__(self, inner: keras.Model):
        super().__init__()
        self.inner = inner
        self.built = True

    def call(self, x: Any, training: bool = False) -> Any:
        """The logarithms [b, C]: softmax of them gives the probabilities back."""
        return log_probabilities(self.inner(x, training=training))


def clone(model: keras.Model, seed: int = 0) -> keras.Model:
    """An independent copy: layers, weights and batch statistics, equal to the bit; not the optimiser.

    Works for sequential and functional models, and for subclassed ones with `get_config`. The states of random layers
    (dropout, noise) are drawn anew from the seed, so that two copies with one seed train alike.

    Raises:
      UserError: the model cannot be copied.
    """
    if isinstance(model, LogProbabilities):
        return LogProbabilities(clone(model.inner, seed))
    copy = _structure(model)
    paths = [(w.name, tuple(w.shape)) for w in model.weights]
    if [(w.name, tuple(w.shape)) for w in copy.weights] != paths:
        raise UserError(f"model: a copy of {type(model).__name__} from its get_config() has other weights than it")
    copy.set_weights(model.get_weights())
    states = [v for v in copy.non_trainable_variables if v.path.endswith("seed_generator_state")]
    for place, state in enumerate(states):  # by place, for the names that Keras gives depend on what was made before
        drawn = seeds.stable_hash("layer", seed, place)
        state.assign(np.array([drawn % 2**32, drawn >> 32], np.uint64).astype(state.dtype))
    return copy


def _structure(model: keras.Model) -> keras.Model:
    """The layers, with weights of any values."""
    try:
        if isinstance(model, keras.Sequential) or type(model).__name__ == "Functional":
            return keras.models.clone_model(model)
        copy = type(model).from_config(model.get_config())
        if not copy.built:
            copy.build_from_config(model.get_build_config() or {})
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        line = str(error).strip().splitlines()[:1]
        raise UserError(f"model: {type(model).__name__} cannot be copied, it needs get_config(): {line}") from None
    return copy


def initialise(layers: Sequence[Any], seed: int, kernels: str | None = None) -> None:
    """Draws the weights of layers anew, keyed by (seed, place of the layer): the same seed gives the same bits.

    Args:
      layers: of `tfpdu.ensemble.networks.leaves`.
      seed: of the draw.
      kernels: a Keras initializer for kernels, such as "he_normal"; None takes each layer's own.

    Raises:
      UserError: a weight has no initializer that is known.
    """
    for place, layer in enumerate(layers):
        inside = {id(w) for child in layer._layers for w in child.weights}
        for variable in layer.weights:
            if id(variable) not in inside:
                key = seeds.keras_seed("weight", seed, place, variable.name)
                variable.assign(_drawn(layer, variable, key, kernels))


_CONSTANT = {"gamma": 1.0, "moving_variance": 1.0, "beta": 0.0, "bias": 0.0, "moving_mean": 0.0}


def _drawn(layer: Any, variable: Any, key: int, kernels: str | None) -> Any:
    name = variable.name
    initializer = getattr(layer, f"{name}_initializer", None)
    if name == "kernel" and kernels:
        initializer = keras.initializers.get(kernels)
    if initializer is None:
        if name not in _CONSTANT:
            raise UserError(f"model: weight {variable.path} has no initializer to draw it anew with; give a builder")
        return np.full(variable.shape, _CONSTANT[name], np.float32)
    config = initializer.get_config()
    if "seed" in config:
        initializer = type(initializer).from_config({**config, "seed": key})
    return initializer(variable.shape, dtype=variable.dtype)
