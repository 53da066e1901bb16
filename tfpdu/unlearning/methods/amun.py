"""AMUN: learn that pictures just beside the forgotten ones are something else.

Algorithm: for each row to forget, the nearest adversarial picture, with the wrong label that the model itself gives it
(`adversaries`). Then fine-tune on retained rows + rows to forget with their TRUE labels + adversarial pictures. Nothing
pushes the forgotten rows away; the model merely becomes as unsure of them as of rows that it has not seen. Without
retained rows: rows to forget + adversarial pictures. For a large forget set, `with_forget=False` leaves its rows out.

AMUN-A, for requests that follow each other, makes the adversarial pictures with the current model each time; this is
what happens unless others are given. AMUN takes those that the first model made: build them once for all rows, and give
them as `adversaries` with `adaptive=False`.

Pitfalls: the rate and its schedule decide everything (a rate that is divided by 10 after each epoch does not forget).
A row that the model has wrong would be its own adversarial picture, with two labels; here it is attacked away from the
label that the model gives it, or left out. Radii are shares of the pixels' range, so `pixel_max` must be right.
"""

import dataclasses

import keras
import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import in_range, one_of
from tfpdu.ensemble.networks import answers
from tfpdu.unlearning.methods.adversaries import Adversaries, AttackSettings, build_adversaries
from tfpdu.unlearning.methods.base import Examples, Method, concatenate
from tfpdu.unlearning.methods.descent import DescentSettings, chosen_layers, descend, gradient_sum, learning
from tfpdu.unlearning.methods.salun import saliency_mask


@dataclasses.dataclass(frozen=True)
class AmunSettings(DescentSettings):
    """As `DescentSettings`, whose defaults are this paper's.

    Attributes:
      attack: how the adversarial pictures are found.
      already_wrong: what is done about rows whose label the model has wrong: "attack" them, or "drop" their adversarial
        pictures.
      with_forget: train on the rows to forget too; False for large forget sets.
      ratio: share of the weights that may change, chosen as in SalUn; 1 = all ("AMUN + SalUn" has 0.5).
      adversaries: pictures made earlier; None makes them with the model that is given.
      adaptive: `adversaries` must be of the very model that is given (AMUN-A); False takes an earlier model's (AMUN).
    """

    attack: AttackSettings = dataclasses.field(default_factory=AttackSettings)
    already_wrong: str = "attack"
    with_forget: bool = True
    ratio: float = 1.0
    adversaries: Adversaries | None = None
    adaptive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(("attack", "drop"), already_wrong=self.already_wrong)
        in_range(1e-9, 1, ratio=self.ratio)


def _nearby(model: keras.Model, forget: Examples, settings: AmunSettings) -> Examples:
    """The adversarial pictures to learn."""
    made = settings.adversaries
    if made is None:
        made = build_adversaries(model, forget, settings.attack)
    elif settings.adaptive:
        made.require_maker(model, "amun.adversaries", ", or say adaptive=False")
    ids = np.asarray(forget.ids, str)
    if settings.already_wrong == "drop":
        ids = ids[answers(model, forget.images).argmax(1) == np.asarray(forget.labels)]
    found = made.of(ids)
    if not len(found):
        raise UserError(
            f"amun: no adversarial picture for any of {len(forget)} rows to forget; are attack.pixel_max and"
            " attack.max_epsilon right?"
        )
    return found


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: AmunSettings, seed: int
) -> keras.Model:
    parts = [_nearby(model, forget, settings)]
    parts += [forget] if settings.with_forget else []
    parts += [] if retain is None else [retain]
    layers, mask = chosen_layers(model, settings.layers), None
    if settings.ratio < 1:
        mask = saliency_mask(gradient_sum(model, learning(model, forget), layers, settings.batch), settings.ratio)
    whole = learning(model, concatenate(parts))
    real = np.arange(len(whole.rows)) >= len(parts[0])  # adversarial pictures are not augmented
    whole = dataclasses.replace(whole, augmented=real)
    descend(model, lambda epoch: [whole], settings, seed, trained=layers, mask=mask)
    return model


AMUN = Method(
    name="amun",
    citation="Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran. Not all wrong is bad: using adversarial examples for"
    " unlearning. ICML 2025",
    needs_retain=False,
    settings=AmunSettings,
    run=_run,
)
