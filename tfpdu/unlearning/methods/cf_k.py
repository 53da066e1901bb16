"""CF-k, catastrophic forgetting of the last k layers: fine-tune them, freeze the rest.

Algorithm: walk from the output over the layers until k convolutions or dense layers are passed; these and the
normalisations between them learn on the retained rows.

Pitfalls: in the authors' code the batch statistics of frozen layers still move; here they stay. The depth of a branch
that runs beside others (a shortcut's convolution) follows the order of layers in the model.
"""

import dataclasses
from typing import Any

import keras

from tfpdu.common.validation import positive
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, chosen_layers, descend, learning, tail


@dataclasses.dataclass(frozen=True)
class CfKSettings(DescentSettings):
    """As `DescentSettings`, with the authors' numbers.

    Attributes:
      k: convolutions and dense layers that learn, counted from the output; the authors' smaller one.
    """

    epochs: int = 30
    learning_rate: float = 0.1
    batch: int = 64
    weight_decay: float = 5e-5
    schedule: str = "restarts"
    clip: float = 10.0
    k: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(k=self.k)


def last_layers(model: keras.Model, settings: CfKSettings) -> list[Any]:
    """The layers that learn: the last k, among those that `settings.layers` allows."""
    allowed = chosen_layers(model, settings.layers)
    return [layer for layer in tail(model, settings.k) if layer in allowed]


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: CfKSettings, seed: int) -> keras.Model:
    whole = learning(model, retain)
    descend(model, lambda epoch: [whole], settings, seed, trained=last_layers(model, settings))
    return model


CF_K = Method(
    name="cf_k",
    citation="Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru. Towards adversarial evaluations for inexact machine"
    " unlearning. 2022",
    needs_retain=True,
    settings=CfKSettings,
    run=_run,
)
