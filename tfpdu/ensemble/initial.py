"""Initial weights of a network: drawn by name, the same bits on every machine and backend, or taken from elsewhere."""

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np

from tfpdu.common import UserError, seeds
from tfpdu.ensemble.weights import load_weights

InitialWeights = Mapping[str, np.ndarray] | str | os.PathLike[str] | None
Rule = Callable[[str, tuple[int, ...]], tuple[float, float]]  # a weight's path and shape to its mean and deviation


def residual_rule(path: str, shape: tuple[int, ...], last: int = 2) -> tuple[float, float]:
    """How a residual network starts.

    Convolutions: He normal over the fan out; the logits: normal with deviation 0.01; the last scale of each residual
    branch starts at 0, so that each block starts as the identity (Goyal et al. 2017, section 5.1).

    Args:
      path: of the weight, such as "stage1_block1_1_conv/kernel".
      shape: of the weight.
      last: how many convolutions a branch has.

    Returns:
      Mean and deviation of its values.
    """
    name = path.rsplit("/", 1)[-1]
    if name == "kernel":
        return 0.0, 0.01 if len(shape) == 2 else (2.0 / (shape[0] * shape[1] * shape[3])) ** 0.5
    ones = name == "moving_variance" or (name == "gamma" and not path.endswith(f"_{last}_norm/gamma"))
    return float(ones), 0.0


def initialise(model: keras.Model, seed: int, weights: InitialWeights = None, rule: Rule = residual_rule) -> None:
    """Draws all weights of a network anew, each keyed by (seed, its path), then lays `weights` over them.

    Args:
      model: a built network.
      seed: of the draws; equal seeds give equal bits on every backend.
      weights: arrays by weight path, laid over where names and shapes agree, or a `.weights.h5` file of such a network,
        in which every weight must fit.
      rule: the mean and deviation of each weight.

    Raises:
      UserError: none of the arrays fits, or the file is not of this network.
    """
    for variable in model.weights:
        variable.assign(_drawn(variable.path, tuple(variable.shape), seed, rule))
    if weights is None:
        return
    if not isinstance(weights, Mapping):
        load_weights(model, weights)
        return
    fitting = {v.path: v for v in model.weights if v.path in weights and v.shape == np.shape(weights[v.path])}
    if not fitting:
        raise UserError("weights: no array has the path and shape of a weight of this network")
    for path, variable in fitting.items():
        variable.assign(weights[path])


def _drawn(path: str, shape: tuple[int, ...], seed: int, rule: Rule) -> np.ndarray:
    mean, deviation = rule(path, shape)
    if not deviation:
        return np.full(shape, mean, np.float32)
    noise = seeds.rng("initial weights", seed, path).standard_normal(shape, np.float32)
    return noise * np.float32(deviation) + np.float32(mean)
