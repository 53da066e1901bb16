"""The ensemble's answer: k models, one distribution over the classes."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.data.storage import stretch
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.weights import load_weights

BATCH = 64
BLOCK = 256 * BATCH  # rows for which the members take turns
Member = str | Path | Sequence[np.ndarray]  # a .weights.h5 file, or the arrays


class Evaluator:
    """One network in evaluation mode that takes on the weights of one member after another.

    Rows go through in batches of `BATCH`, the last one padded, so that a row's output does not depend on how many
    others were asked for with it.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.classes = int(model.output_shape[-1])
        self._forward = _compiled(model)

    def logits(self, weights: Sequence[np.ndarray], images: np.ndarray) -> np.ndarray:
        """Logits of uint8 images [n, h, w, c] with these weights: float32[n, C]."""
        for variable, value in zip(self.model.weights, weights, strict=True):
            variable.assign(value)
        n = len(images)
        out = np.zeros((n, self.classes), np.float32)
        for start in range(0, n, BATCH):
            part = images[start : start + BATCH]
            padded = np.zeros((BATCH, *images.shape[1:]), np.float32)
            padded[: len(part)] = part
            out[start : start + BATCH] = np.asarray(self._forward(padded))[: len(part)]
        return out

    def read(self, path: str | Path) -> list[np.ndarray]:
        """The arrays of a `.weights.h5` file of this network."""
        if not Path(path).exists():
            raise UserError(f"{path}: these weights are gone; a later deletion has purged them")
        load_weights(self.model, path)
        return [np.array(value) for value in self.model.get_weights()]


class Ensemble:
    """k models that answer as one.

    Args:
      members: the weights of each model, as arrays or as `.weights.h5` files (read at first use).
      model: the network they belong to, or an `Evaluator` that several ensembles share.
      settings: `aggregate` says how the answers are put together.
      sizes: rows that each model learned from, for "weighted"; equal by default.
    """

    def __init__(
        self,
        members: Sequence[Member],
        model: keras.Model | Evaluator,
        settings: EnsembleSettings,
        sizes: Sequence[int] | None = None,
    ):
        if not members:
            raise UserError("ensemble: expected at least one model")
        if sizes is not None and (len(sizes) != len(members) or min(sizes) <= 0):
            raise UserError(f"ensemble: {len(members)} models, but their sizes are {list(sizes)}")
        self.members, self.settings = list(members), settings
        self.sizes = np.asarray(sizes if sizes is not None else [1] * len(members), np.float64)  # [k]
        self._evaluator = model if isinstance(model, Evaluator) else Evaluator(model)
        self._weights: dict[int, Sequence[np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.members)

    @property
    def parameters(self) -> int:
        """Weights of one model that are learned."""
        return sum(int(np.prod(v.shape)) for v in self._evaluator.model.trainable_variables)

    def shard_probabilities(self, images: np.ndarray) -> np.ndarray:
        """What each model says of uint8 images [n, h, w, c]: float64[k, n, C], rows sum to 1."""
        return np.stack([softmax(self._evaluator.logits(self.weights(s), images)) for s in range(len(self))])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """What the ensemble says of uint8 images [n, h, w, c]: float64[n, C], rows sum to 1."""
        out = np.empty((len(images), self._evaluator.classes))
        for start in range(0, len(images), BLOCK):  # k answers a row are in memory for one block of rows alone
            answers = self.shard_probabilities(stretch(images, start, start + BLOCK))
            out[start : start + BLOCK] = aggregate(answers, self.settings.aggregate, self.sizes)
        return out

    def weights(self, member: int) -> Sequence[np.ndarray]:
        """The arrays of one model, in the order of its `model.weights`."""
        if member not in self._weights:
            source = self.members[member]
            self._weights[member] = self._evaluator.read(source) if isinstance(source, str | Path) else source
        return self._weights[member]

    def model(self, member: int) -> keras.Model:
        """A network of its own with one member's weights: 0..255 pixels in, logits out."""
        model = keras.models.clone_model(self._evaluator.model)
        model.set_weights(list(self.weights(member)))
        return model


def aggregate(probabilities: np.ndarray, how: str, sizes: np.ndarray | None = None) -> np.ndarray:
    """Puts the answers of k models together: float64[k, n, C] to float64[n, C], rows sum to 1.

    Args:
      probabilities: float64[k, n, C].
      how: "mean_probability"; "vote": the share of models whose best class it is, ties broken by the mean
        probability (with a millionth of its weight); "weighted": mean weighted by `sizes`.
      sizes: rows that each model learned from, [k].
    """
    mean = probabilities.mean(0)
    if how == "mean_probability":
        return mean
    if how == "weighted":
        return np.average(probabilities, axis=0, weights=sizes)
    votes = np.eye(mean.shape[1])[probabilities.argmax(2)].mean(0)  # [n, C]
    return (votes + 1e-6 * mean) / (1 + 1e-6)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(-1, keepdims=True)


@functools.lru_cache(maxsize=2)
def resnet18_evaluator(
    input_shape: tuple[int, int, int], classes: int, stem: str, width: int, upscale: int, precision: str
) -> Evaluator:
    """The evaluator of a ResNet18, see `build_resnet18`; compiled once a process, for all ensembles of that network."""
    return Evaluator(build_resnet18(input_shape, classes, stem, width, upscale=upscale, precision=precision))


def _compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    if keras.backend.backend() != "tensorflow":
        return lambda images: keras.ops.convert_to_numpy(model(images, training=False))
    import tensorflow as tf

    shape = (BATCH, *model.input_shape[1:])
    return tf.function(lambda images: model(images, training=False), [tf.TensorSpec(shape, tf.float32)])
