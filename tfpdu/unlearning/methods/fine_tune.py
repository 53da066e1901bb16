"""Fine-tuning on what is retained, and hoping that the rest fades.

Algorithm: cross-entropy on the retained rows. Forgetting is a side effect, so the result depends on the learning rate
more than on anything else: published forget errors of this method on one data set range from 0.6 % to 6.8 %.
"""

import dataclasses

import keras

from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, Pass, classes_of, cross_entropy, descend, one_hot


@dataclasses.dataclass(frozen=True)
class FineTuneSettings(DescentSettings):
    """As `DescentSettings`; the learning rate is that of Jia et al.'s code."""


def _run(
    model: keras.Model, forget: Examples, retain: Examples, settings: FineTuneSettings, seed: int
) -> keras.Model:
    whole = Pass(retain, one_hot(retain.labels, classes_of(model, retain)), cross_entropy)
    descend(model, lambda epoch: [whole], settings, seed)
    return model


FINE_TUNE = Method(
    name="fine_tune",
    citation="Warnecke, Pirch, Wressnegger, Rieck. Machine unlearning of features and labels. NDSS 2023",
    needs_retain=True,
    settings=FineTuneSettings,
    run=_run,
)
