"""Fine-tuning on what is retained, and hoping that the rest fades.

Algorithm: cross-entropy on the retained rows.

Pitfalls: forgetting is a side effect, so the result hangs on the learning rate more than on anything else. For one data
set and network, published forget errors of this method range from 0.6 % to 6.8 %.
"""

import dataclasses

import keras

from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, descend, learning


@dataclasses.dataclass(frozen=True)
class FineTuneSettings(DescentSettings):
    """As `DescentSettings`: rate .01 and 10 epochs are also those of Jia et al. 2023."""


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: FineTuneSettings, seed: int) -> keras.Model:
    whole = learning(model, retain)
    descend(model, lambda epoch: [whole], settings, seed)
    return model


FINE_TUNE = Method(
    name="fine_tune",
    citation="Warnecke, Pirch, Wressnegger, Rieck. Machine unlearning of features and labels. NDSS 2023",
    needs_retain=True,
    settings=FineTuneSettings,
    run=_run,
)
