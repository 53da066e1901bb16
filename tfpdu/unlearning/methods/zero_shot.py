"""Zero-shot unlearning: adversarial pictures of the forgotten rows stand in for the retained ones.

Algorithm, for every convolution and dense layer: (1) proxies are adversarial pictures of the rows to forget, with the
labels that the model gives them; (2) U spans the directions that hold the share `energy` of the squared inputs that the
layer gets from the proxies, and kernels move by (I - U U') g only, so that what the layer does with the proxies hardly
changes; (3) the rows to forget are learnt with pseudo-labels: for each, the wrong class whose step would, to first
order and in the last layer, lower the proxies' loss most. Retained rows are never looked at.

What is verified: only the abstract, that is, these three parts. How the authors choose the rank, the attack and the
pseudo-labels, their schedule and their numbers could not be read; those here are ours, and results are not theirs.

Pitfalls: biases, normalisations and layers with groups stay as they are. With many proxies and `energy` near 1 nothing
is left to move. A layer with d inputs a position takes d^2 memory and d^3 time: 4,608 in a ResNet18's last stage.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.validation import in_range
from tfpdu.ensemble.networks import answers, is_product
from tfpdu.unlearning.methods.adversaries import Adversaries, AttackSettings, build_adversaries
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import (
    DescentSettings,
    chosen_layers,
    descend,
    learning_weights,
    one_hot,
    relabelled,
)
from tfpdu.unlearning.methods.network import LogProbabilities


@dataclasses.dataclass(frozen=True)
class ZeroShotSettings(DescentSettings):
    """As `DescentSettings`; without retained rows batch statistics would drift, so they are frozen.

    Attributes:
      attack: how the proxies are found.
      energy: share of the proxies' squared inputs that no step may touch, in [0, 1].
      adversaries: proxies made earlier, with the very model that is given; None makes them.
    """

    weight_decay: float = 0.0
    batchnorm: str = "frozen"
    attack: AttackSettings = dataclasses.field(default_factory=AttackSettings)
    energy: float = 0.95
    adversaries: Adversaries | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(0, 1, energy=self.energy)


def principal_basis(second_moment: np.ndarray, energy: float) -> np.ndarray:
    """The fewest eigenvectors [d, r] of a matrix [d, d] that hold the share `energy` of its trace."""
    values, vectors = np.linalg.eigh(second_moment)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    held = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
    # Where all is asked for, what rounding leaves over the rank is no direction.
    rank = int(np.searchsorted(held, min(energy, 1 - 1e-10))) + 1 if energy > 0 else 0
    return vectors[:, :rank]


def pseudo_labels(inputs: np.ndarray, labels: np.ndarray, proxies: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """For each row the wrong class whose step most lowers the proxies' loss, int64[n].

    The step on (x, c) moves the last kernel by -h (p - e_c)', and the proxies' loss by that times its gradient
    P = mean of h_j (p_j - e_j)': what depends on c is (h' P)_c, and the lowest wins.

    Args:
      inputs: h, of the last layer, [n, d].
      labels: int[n], as they are.
      proxies: h_j, [m, d].
      gaps: p_j - e_j, [m, C].
    """
    slopes = inputs @ (proxies.T @ gaps / len(proxies))  # [n, C]
    slopes[np.arange(len(labels)), labels] = np.inf
    return slopes.argmin(1)


def _inputs(model: keras.Model, layers: Sequence[Any], images: Any, batch: int) -> Any:
    """Batch after batch, what each layer gets: [b, ...] each."""
    try:
        (pictures,) = model.inputs
        probe = keras.Model(pictures, [layer.input for layer in layers])
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"zero_shot: needs a functional or sequential model without models inside, got {type(model).__name__}"
        ) from None
    for start in range(0, len(images), batch):
        found = probe(np.asarray(images[start : start + batch], np.float32), training=False)
        yield found if isinstance(found, (list, tuple)) else [found]


def _moments(model: keras.Model, layers: Sequence[Any], images: Any, batch: int) -> list[np.ndarray]:
    """The sum of x x' over all inputs x of each layer, at all positions, float64[d, d]."""
    total = [np.zeros((int(np.prod(layer.kernel.shape[:-1])),) * 2) for layer in layers]
    for found in _inputs(model, layers, images, batch):
        for i, (layer, x) in enumerate(zip(layers, found, strict=True)):
            rows = np.asarray(_patches(layer, tf.cast(x, tf.float32)), np.float64)
            total[i] += rows.T @ rows
    return total


def _patches(layer: Any, x: Any) -> Any:
    """What each position's dot product sees, [positions, d]."""
    if len(layer.kernel.shape) == 4:
        sizes, strides, rates = ([1, *pair, 1] for pair in (layer.kernel_size, layer.strides, layer.dilation_rate))
        x = tf.image.extract_patches(x, sizes, strides, rates, layer.padding.upper())
    return tf.reshape(x, (-1, x.shape[-1]))


def _is_plain(layer: Any) -> bool:
    """A dense layer, or a convolution over pictures without groups."""
    if not is_product(layer) or not layer.trainable:
        return False
    ranks = {keras.layers.Dense: 2, keras.layers.Conv2D: 4}
    fits = any(isinstance(layer, kind) and len(layer.kernel.shape) == rank for kind, rank in ranks.items())
    return fits and getattr(layer, "groups", 1) == 1


def _labels(model: keras.Model, last: Any, forget: Examples, proxies: Examples, batch: int) -> np.ndarray:
    """The pseudo-labels of the rows to forget."""
    inputs, seen = (
        np.concatenate([np.asarray(_patches(last, found[0])) for found in _inputs(model, [last], rows.images, batch)])
        for rows in (forget, proxies)
    )
    given = np.asarray(keras.ops.softmax(answers(model, proxies.images)))
    gaps = given - one_hot(proxies.labels, given.shape[1])
    return pseudo_labels(inputs, np.asarray(forget.labels), seen, gaps)


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: ZeroShotSettings, seed: int
) -> keras.Model:
    made = settings.adversaries or build_adversaries(model, forget, settings.attack)
    made.require_maker(model, "zero_shot.adversaries")
    proxies = made.of(forget.ids)
    if not len(proxies):
        raise UserError("zero_shot: no adversarial picture for any row to forget; is attack.pixel_max right?")
    network = model.inner if isinstance(model, LogProbabilities) else model
    layers = chosen_layers(model, settings.layers)
    plain = [layer for layer in layers if _is_plain(layer)]
    if not plain or not isinstance(plain[-1], keras.layers.Dense):
        raise UserError("zero_shot: needs a model whose last layer with weights is dense")
    moments = _moments(network, plain, proxies.images, settings.batch)
    bases = {id(p.kernel.value): principal_basis(m, settings.energy) for p, m in zip(plain, moments, strict=True)}
    weights = learning_weights(model, layers)
    avoid = [bases.get(id(w)) for w in weights]
    mask = [np.full(w.shape, u is not None) for w, u in zip(weights, avoid, strict=True)]
    labels = _labels(network, plain[-1], forget, proxies, settings.batch)
    walk = relabelled(forget, labels, int(plain[-1].units))
    descend(model, lambda epoch: [walk], settings, seed, trained=layers, mask=mask, avoid=avoid)
    return model


ZERO_SHOT = Method(
    name="zero_shot",
    citation="Chen, Zhu, Yu, Zhou. Zero-shot machine unlearning with proxy adversarial data generation. IJCAI 2025",
    needs_retain=False,
    settings=ZeroShotSettings,
    run=_run,
)
