"""Retraining from scratch on what is retained: the reference that all others are measured against.

Algorithm: new initial weights, keyed by the seed; then the original training without the rows to forget.

Pitfalls: it is a reference only if it is the training that made the original model: give its settings, and `build`
where initial weights are special (a ResNet's zeroed residual branches, weights from a public pre-training). By default
every layer's own initializer draws anew. A backbone that saw the forgotten rows still knows them.
"""

import dataclasses
from collections.abc import Callable

import keras

from tfpdu.common import UserError
from tfpdu.unlearning.methods.base import Examples, Method, resolve
from tfpdu.unlearning.methods.descent import DescentSettings, chosen_layers, descend, learning
from tfpdu.unlearning.methods.network import LogProbabilities, initialise


@dataclasses.dataclass(frozen=True)
class RetrainSettings(DescentSettings):
    """As `DescentSettings`; the AMUN paper's training of ResNet18 on CIFAR-10.

    Attributes:
      build: seed -> an untrained model of the same shape, or such a function's "package.module:name"; None draws the
        weights of a copy of the given model anew.
    """

    epochs: int = 200
    learning_rate: float = 0.1
    schedule: str = "step"
    step_epochs: int = 40
    build: Callable[[int], keras.Model] | str | None = None


def untrained(model: keras.Model, settings: RetrainSettings, seed: int) -> keras.Model:
    """A model to train: built, or the given one with new weights."""
    if settings.build is None:
        initialise(chosen_layers(model, settings.layers), seed)
        return model
    if settings.layers != "all":
        raise UserError(f"retrain.layers: {settings.layers!r} keeps other layers' weights, which build has not")
    build = resolve(settings.build) if isinstance(settings.build, str) else settings.build
    made = build(seed)
    if [tuple(w.shape) for w in made.weights] != [tuple(w.shape) for w in model.weights]:
        raise UserError("retrain.build: the built model has weights of other shapes than the model that is to forget")
    return LogProbabilities(made) if isinstance(model, LogProbabilities) else made


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: RetrainSettings, seed: int) -> keras.Model:
    fresh = untrained(model, settings, seed)
    whole = learning(fresh, retain)
    descend(fresh, lambda epoch: [whole], settings, seed)
    return fresh


RETRAIN = Method(
    name="retrain",
    citation="Cao, Yang. Towards making systems forget with machine unlearning. IEEE S&P 2015",
    needs_retain=True,
    settings=RetrainSettings,
    run=_run,
)
