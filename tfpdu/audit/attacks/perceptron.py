"""A small tanh network in NumPy, for attacks that learn: fast at this size, seeded, the same everywhere."""

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """d inputs, tanh layers, one output: the logit of "member".

    Attributes:
      weights: one [fan_in, fan_out] matrix per layer.
      biases: one [fan_out] vector per layer.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """[n, d] -> float64[n]."""
        return self._activations(inputs)[-1][:, 0]

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Gradients of the mean binary cross-entropy by weights and by biases; targets are 0 or 1."""
        layers = self._activations(inputs)
        error = (special.expit(layers[-1]) - targets[:, None]) / len(targets)  # [n, 1]
        by_weights: list[np.ndarray] = []
        by_biases: list[np.ndarray] = []
        for layer in reversed(range(len(self.weights))):
            by_weights.insert(0, layers[layer].T @ error)
            by_biases.insert(0, error.sum(axis=0))
            if layer:
                error = (error @ self.weights[layer].T) * (1 - layers[layer] ** 2)
        return by_weights, by_biases

    def _activations(self, inputs: np.ndarray) -> list[np.ndarray]:
        layers = [inputs]
        for layer, (matrix, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            before = layers[-1] @ matrix + bias
            layers.append(before if layer == len(self.weights) - 1 else np.tanh(before))
        return layers


@dataclasses.dataclass(frozen=True)
class Descent:
    """Stochastic gradient descent, by default as Yu et al. 2021 train their attack network.

    Attributes:
      rate: learning rate.
      steps: how many steps.
      batch: rows a step, drawn without replacement (all rows, if fewer).
      decay: L2 penalty; each step shrinks the weights by rate * decay.
      judge_every: after how many steps the network is judged.
    """

    rate: float = 0.5
    steps: int = 1000
    batch: int = 200
    decay: float = 0.0
    judge_every: int = 5


def initial(sizes: tuple[int, ...], generator: np.random.Generator) -> Perceptron:
    """A network with weights and biases uniform in +-1/sqrt(fan_in)."""
    pairs = list(itertools.pairwise(sizes))
    bounds = [1 / np.sqrt(fan_in) for fan_in, _ in pairs]
    weights = tuple(generator.uniform(-b, b, pair) for b, pair in zip(bounds, pairs, strict=True))
    return Perceptron(weights, tuple(generator.uniform(-b, b, out) for b, (_, out) in zip(bounds, pairs, strict=True)))


def descend(
    network: Perceptron,
    inputs: np.ndarray,
    targets: np.ndarray,
    settings: Descent,
    generator: np.random.Generator,
    judge: Callable[[Perceptron], float],
) -> Perceptron:
    """Trains and returns the network that `judge` liked best (the first of equals), the untrained one included."""
    best, liked = network, judge(network)
    weights, biases = [w.copy() for w in network.weights], [b.copy() for b in network.biases]
    for step in range(1, settings.steps + 1):
        rows = generator.permutation(len(targets))[: settings.batch]
        current = Perceptron(tuple(weights), tuple(biases))
        by_weights, by_biases = current.gradients(inputs[rows], targets[rows])
        keep = 1 - settings.rate * settings.decay
        weights = [keep * w - settings.rate * g for w, g in zip(weights, by_weights, strict=True)]
        biases = [b - settings.rate * g for b, g in zip(biases, by_biases, strict=True)]
        if step % settings.judge_every == 0:
            current = Perceptron(tuple(weights), tuple(biases))
            value = judge(current)
            if value > liked:
                best, liked = current, value
    return best


def binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean binary cross-entropy in nats of logits against targets of 0 or 1."""
    return float(np.mean(np.logaddexp(0.0, logits) - targets * logits))
