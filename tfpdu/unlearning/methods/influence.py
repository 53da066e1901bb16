"""Influence functions: one Newton step to where training without the forgotten rows would have ended.

Algorithm: w = w0 + scale / n * (G + (weight_decay + damping) * I)^-1 * g, with the curvature G of the n retained rows'
mean loss and the sum g of the gradients of the m rows to forget, of which each holds its share weight_decay * w0 of the
penalty; by conjugate gradients, without ever forming a matrix.

Pitfalls: the step assumes that w0 is the minimum of the whole training loss, which an early-stopped network's is not,
and that few rows go. To remove is to ADD the gradient. G is the Gauss-Newton matrix: the Hessian of a network is not
positive, and conjugate gradients would go astray in it; for a linear model both agree. Where the training's penalty is
left out of g, the step goes wrong in proportion to the weights. The certified version, for a convex head, is
`tfpdu.unlearning.CertifiedHead`.
"""

import dataclasses

import keras

from tfpdu.common.validation import non_negative, one_of, positive
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.curvature import conjugate_gradient, curvature_product
from tfpdu.unlearning.methods.descent import LAYERS, chosen_layers, gradient_sum, learning, learning_weights


@dataclasses.dataclass(frozen=True)
class InfluenceSettings:
    """Of the one step. Batch statistics are used, and stay.

    Attributes:
      scale: of the step; 1 is Newton's.
      damping: added to the curvature; Koh and Liang's 0.01.
      weight_decay: with which the model was trained, on all weights.
      iterations: of conjugate gradients, each one walk over the retained rows, at about three times a training epoch.
      tolerance: of the residual at which to stop, a share of the gradient's norm.
      batch: rows at once.
      layers: which layers move, as in `DescentSettings`.
    """

    scale: float = 1.0
    damping: float = 0.01
    weight_decay: float = 5e-4
    iterations: int = 50
    tolerance: float = 1e-4
    batch: int = 128
    layers: str = "all"

    def __post_init__(self) -> None:
        positive(scale=self.scale, iterations=self.iterations, tolerance=self.tolerance, batch=self.batch)
        non_negative(damping=self.damping, weight_decay=self.weight_decay)
        one_of(LAYERS, layers=self.layers)


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: InfluenceSettings, seed: int) -> keras.Model:
    layers = chosen_layers(model, settings.layers)
    weights, decay = learning_weights(model, layers), settings.weight_decay
    slopes = gradient_sum(model, learning(model, forget), layers, settings.batch)
    right = [(g + len(forget) * decay * w.numpy()) / len(retain) for g, w in zip(slopes, weights, strict=True)]
    product = curvature_product(model, retain, layers, settings.batch)
    step = conjugate_gradient(product, right, decay + settings.damping, settings.iterations, settings.tolerance)
    for weight, move in zip(weights, step, strict=True):
        weight.assign_add((settings.scale * move).astype("float32"))
    return model


INFLUENCE = Method(
    name="influence",
    citation="Koh, Liang. Understanding black-box predictions via influence functions. ICML 2017; for removal: Guo,"
    " Goldstein, Hannun, van der Maaten. ICML 2020",
    needs_retain=True,
    settings=InfluenceSettings,
    run=_run,
)
