"""Boundary shrink: what is to be forgotten moves over the nearest boundary.

Algorithm: from a frozen copy of the original model, x' = FGSM(x) leads each row to forget towards its nearest wrong
class; y' = what the copy calls x'. Then train on (x, y'). Retained rows are not used.

Pitfalls: where the step does not cross a boundary y' is the old label. The reference is the original model throughout;
AMUN's code copies it anew every epoch and so drifts along. `bound` is a share of the pixels' range, so `pixel_max` must
be right: 255 where the model rescales inside.
"""

import dataclasses

import keras

from tfpdu.common.validation import positive
from tfpdu.ensemble.networks import answers
from tfpdu.unlearning.methods.adversaries import fgsm
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, classes_of, descend, relabelled


@dataclasses.dataclass(frozen=True)
class BoundaryShrinkSettings(DescentSettings):
    """As `DescentSettings`; the authors' rate, which suits forgetting a class.

    Attributes:
      bound: of the FGSM step, L-infinity, as a share of the pixels' range.
      pixel_max: the largest pixel, 255 or 1.
    """

    learning_rate: float = 1e-5
    bound: float = 0.1
    pixel_max: float = 255.0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(bound=self.bound, pixel_max=self.pixel_max)


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: BoundaryShrinkSettings, seed: int
) -> keras.Model:
    moved = fgsm(model, forget.images, forget.labels, settings.bound, settings.pixel_max)
    nearest = answers(model, moved).argmax(1)  # [n]
    whole = relabelled(forget, nearest, classes_of(model, forget))
    descend(model, lambda epoch: [whole], settings, seed)
    return model


BOUNDARY_SHRINK = Method(
    name="boundary_shrink",
    citation="Chen, Gao, Liu, Peng, Wang. Boundary unlearning. CVPR 2023",
    needs_retain=False,
    settings=BoundaryShrinkSettings,
    run=_run,
)
