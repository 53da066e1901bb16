"""Random labels: what is to be forgotten is learnt anew with labels that mean nothing.

Algorithm: in each epoch draw a label for every row to forget, keyed by (seed, epoch, id), and train on these, then on
the retained rows with their own labels.

Pitfalls: as in SalUn's code a drawn label may be the true one (one time in C); AMUN's code excludes it, so the two
columns called "RL" are not the same method. Without retained rows a rate that forgets also destroys.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from tfpdu.common.seeds import mix
from tfpdu.common.validation import one_of
from tfpdu.unlearning.methods.base import Examples, Method, concatenate
from tfpdu.unlearning.methods.descent import DescentSettings, Pass, classes_of, descend, learning, relabelled

ORDERS = ("sequential", "mixed")


@dataclasses.dataclass(frozen=True)
class RandomLabelsSettings(DescentSettings):
    """As `DescentSettings`.

    Attributes:
      exclude_true: never draw the row's own label.
      order: "sequential": all rows to forget, then all others, as SalUn's code does for CIFAR-10; "mixed": all in one,
        as it does for CIFAR-100 and Tiny ImageNet.
    """

    exclude_true: bool = False
    order: str = "sequential"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(ORDERS, order=self.order)


def random_labels(rows: Examples, classes: int, epoch: int, seed: int, exclude_true: bool = False) -> np.ndarray:
    """int64[n] in 0..classes-1, drawn for an epoch; each depends on (seed, epoch, id) and, if excluded, the label."""
    draws = mix(rows.keys, seed, "random label", epoch)
    if not exclude_true:
        return (draws % np.uint64(classes)).astype(np.int64)
    return (np.asarray(rows.labels) + 1 + (draws % np.uint64(classes - 1)).astype(np.int64)) % classes


def random_plan(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: RandomLabelsSettings, seed: int
) -> Callable[[int], list[Pass]]:
    """The passes of each epoch, for `descend`."""
    classes = classes_of(model, forget)
    kept = None if retain is None else learning(model, retain)
    mixed = settings.order == "mixed" and retain is not None
    whole = concatenate([forget, retain]) if mixed and retain is not None else None

    def plan(epoch: int) -> list[Pass]:
        labels = random_labels(forget, classes, epoch, seed, settings.exclude_true)
        drawn = relabelled(forget, labels, classes)
        if kept is None:
            return [drawn]
        if whole is None:
            return [drawn, kept]
        return [Pass(whole, np.concatenate([drawn.targets, kept.targets]), drawn.loss)]

    return plan


def _run(
    model: keras.Model, forget: Examples, retain: Examples | None, settings: RandomLabelsSettings, seed: int
) -> keras.Model:
    descend(model, random_plan(model, forget, retain, settings, seed), settings, seed)
    return model


RANDOM_LABELS = Method(
    name="random_labels",
    citation="Golatkar, Achille, Soatto. Eternal sunshine of the spotless net. CVPR 2020",
    needs_retain=False,
    settings=RandomLabelsSettings,
    run=_run,
)
