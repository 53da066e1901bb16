"""SalUn: random labels, but only for the weights that the forgotten rows pull at most.

Algorithm: sum the gradient of cross-entropy over the rows to forget in evaluation mode; the mask is the share `ratio`
of all weights with the largest magnitude. Then `random_labels`, in which only masked-in weights change.

Pitfalls: masking the gradient alone is not enough: momentum and weight decay still move the other weights. The authors'
code did that until February 2026, and their published numbers come from it; `freeze="gradients"` reproduces this.
Batch statistics are no weights: with `batchnorm="update"` they move.
"""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import in_range
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import chosen_layers, descend, gradient_sum, learning
from tfpdu.unlearning.methods.random_labels import RandomLabelsSettings, random_plan


@dataclasses.dataclass(frozen=True)
class SalUnSettings(RandomLabelsSettings):
    """As `RandomLabelsSettings`, with the authors' rate and ratio for 10 % of CIFAR-10.

    Attributes:
      ratio: share of the weights that may change, above 0 and at most 1.
    """

    learning_rate: float = 0.013
    ratio: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range(0, 1, ratio=self.ratio)
        if not self.ratio:
            raise UserError("ratio: expected a number above 0, got 0")


def saliency_mask(gradients: Sequence[np.ndarray], ratio: float) -> list[np.ndarray]:
    """The floor(ratio * d) weights with the largest |gradient|, of all d together: bool, shaped as the gradients."""
    sizes = np.abs(np.concatenate([np.ravel(g) for g in gradients]))
    chosen = np.zeros(len(sizes), bool)
    chosen[np.argsort(-sizes, kind="stable")[: int(len(sizes) * ratio)]] = True
    ends = np.cumsum([np.size(g) for g in gradients])[:-1]
    return [part.reshape(np.shape(g)) for part, g in zip(np.split(chosen, ends), gradients, strict=True)]


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: SalUnSettings, seed: int
) -> keras.Model:
    layers = chosen_layers(model, settings.layers)
    mask = saliency_mask(gradient_sum(model, learning(model, forget), layers, settings.batch), settings.ratio)
    plan = random_plan(model, forget, retain, settings, seed)
    descend(model, plan, settings, seed, trained=layers, mask=mask)
    return model


SALUN = Method(
    name="salun",
    citation="Fan, Liu, Zhang, Wong, Wei, Liu. SalUn: empowering machine unlearning via gradient-based weight saliency."
    " ICLR 2024",
    needs_retain=False,
    settings=SalUnSettings,
    run=_run,
)
