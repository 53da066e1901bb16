"""Fine-tuning that is pulled back to the original weights.

Algorithm: cross-entropy on the retained rows + lambda/2 * ||w - w0||^2, w0 the original model's weights.

Pitfalls: the study gives no lambda. A pull of lambda * rate * steps well above 1 leaves the model where it was. Weight
decay pulls elsewhere, to 0; it stays on, as in plain fine-tuning, unless it is set to 0. The study's 0.46 and 0.99 as
success of a membership attack are the same attack against non-members of the forgotten class and of all classes:
only the first says anything about membership.
"""

import dataclasses

import keras

from tfpdu.common.validation import non_negative
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, descend, learning


@dataclasses.dataclass(frozen=True)
class FineTuneAnchoredSettings(DescentSettings):
    """As `DescentSettings`.

    Attributes:
      anchor: lambda, of the pull to the original weights. Ours: the study does not say.
    """

    anchor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(anchor=self.anchor)


def _run(
    model: keras.Model, forget: Examples, retain: Examples, settings: FineTuneAnchoredSettings, seed: int
) -> keras.Model:
    whole = learning(model, retain)
    descend(model, lambda epoch: [whole], settings, seed, anchor=settings.anchor)
    return model


FINE_TUNE_ANCHORED = Method(
    name="fine_tune_anchored",
    citation="Machine unlearning study, course CS726 Advanced Machine Learning, IIT Bombay",
    needs_retain=True,
    settings=FineTuneAnchoredSettings,
    run=_run,
)
