"""Gradient ascent: the steps of training, backwards, on what is to be forgotten.

Algorithm: maximise cross-entropy on the rows to forget. Retained rows are not used.

Pitfalls: cross-entropy has no maximum. A rate a few times too large destroys the model (5 % accuracy everywhere in one
published table), one a few times too small does nothing; search in 1e-5 to .1. The default is the authors' for
forgetting a class. Weight decay still shrinks the weights.
"""

import dataclasses

import keras

from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, ascent, descend, learning


@dataclasses.dataclass(frozen=True)
class GradientAscentSettings(DescentSettings):
    """As `DescentSettings`; rate and epochs of Jia et al. 2023."""

    epochs: int = 5
    learning_rate: float = 1e-4


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: GradientAscentSettings, seed: int
) -> keras.Model:
    whole = dataclasses.replace(learning(model, forget), loss=ascent)
    descend(model, lambda epoch: [whole], settings, seed)
    return model


GRADIENT_ASCENT = Method(
    name="gradient_ascent",
    citation="Thudi, Deza, Chandrasekaran, Papernot. Unrolling SGD. EuroS&P 2022",
    needs_retain=False,
    settings=GradientAscentSettings,
    run=_run,
)
