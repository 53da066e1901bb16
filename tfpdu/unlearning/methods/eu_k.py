"""EU-k, exact unlearning of the last k layers: draw them anew and train them on what is retained.

Algorithm: as CF-k, but the k convolutions and dense layers start again from He-normal kernels and biases of 0. The
normalisations between them learn too, and are not reset.

Pitfalls: the first layers keep what they saw, so this is exact for the last layers only. See also CF-k.
"""

import dataclasses

import keras

from tfpdu.ensemble.networks import is_product
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.cf_k import CF_K, CfKSettings, last_layers
from tfpdu.unlearning.methods.descent import descend, learning
from tfpdu.unlearning.methods.network import initialise


@dataclasses.dataclass(frozen=True)
class EuKSettings(CfKSettings):
    """As CF-k's, with twice the epochs."""

    epochs: int = 62


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: EuKSettings, seed: int) -> keras.Model:
    layers, whole = last_layers(model, settings), learning(model, retain)
    initialise([layer for layer in layers if is_product(layer)], seed, kernels="he_normal")
    descend(model, lambda epoch: [whole], settings, seed, trained=layers)
    return model


EU_K = Method(name="eu_k", citation=CF_K.citation, needs_retain=True, settings=EuKSettings, run=_run)
