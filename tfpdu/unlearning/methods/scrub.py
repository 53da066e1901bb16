"""SCRUB: obey the original model on what is retained, disobey it on what is to be forgotten.

Algorithm: the teacher is the original model, in evaluation mode. For `max_epochs` epochs, a pass over the rows to
forget that maximises KL(teacher || student); in every epoch, a pass over the retained rows that minimises
alpha * KL(teacher || student) + gamma * cross-entropy. KL is of answers softened by the temperature T, times T^2
(Hinton et al. 2015).

Pitfalls: maximising goes first and must stop some epochs before the end, or the model stays broken. The authors'
variant with rewinding picks the epoch by a held-out set; that choice is left to the user. The teacher answers to the
pictures as they are, whatever `views` does to them. The defaults are those of the authors' notebook for large data
sets, as others' ports of it give them; for small ones they have 10 epochs, 3 of them with the push, alpha .5, gamma 1,
T 2 and Adam.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.validation import non_negative, positive
from tfpdu.ensemble.networks import answers
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, Pass, cross_entropy, descend, one_hot


@dataclasses.dataclass(frozen=True)
class ScrubSettings(DescentSettings):
    """As `DescentSettings`.

    Attributes:
      max_epochs: the first epochs, in which the forget set is pushed away; at most `epochs`.
      forget_batch: rows a step in these.
      alpha: weight of the distillation on retained rows.
      gamma: weight of their cross-entropy.
      temperature: T.
    """

    epochs: int = 3
    learning_rate: float = 5e-4
    max_epochs: int = 2
    forget_batch: int = 32
    alpha: float = 0.001
    gamma: float = 0.99
    temperature: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(max_epochs=self.max_epochs, alpha=self.alpha, gamma=self.gamma)
        positive(temperature=self.temperature, forget_batch=self.forget_batch)
        if self.max_epochs > self.epochs:
            raise UserError(f"max_epochs: expected at most epochs={self.epochs}, got {self.max_epochs}")


def divergence(teacher: Any, student: Any, temperature: float) -> Any:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) in nats: logits [b, C] twice to [b]."""
    p = tf.nn.softmax(teacher / temperature)
    gap = tf.nn.log_softmax(teacher / temperature) - tf.nn.log_softmax(student / temperature)
    return temperature**2 * tf.reduce_sum(p * gap, axis=-1)


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: ScrubSettings, seed: int) -> keras.Model:
    temperature = settings.temperature
    taught, kept = answers(model, forget.images), answers(model, retain.images)  # [n, C], the teacher's logits
    classes = kept.shape[1]

    def disobey(logits: Any, targets: Any) -> Any:
        return -divergence(targets, logits, temperature)

    def obey(logits: Any, targets: Any) -> Any:
        teacher, labels = tf.split(targets, 2, axis=1)  # [b, C] each
        return settings.alpha * divergence(teacher, logits, temperature) + settings.gamma * cross_entropy(
            logits, labels
        )

    away = Pass(forget, taught, disobey, settings.forget_batch)
    back = Pass(retain, np.concatenate([kept, one_hot(retain.labels, classes)], 1), obey)
    descend(model, lambda epoch: [away, back] if epoch < settings.max_epochs else [back], settings, seed)
    return model


SCRUB = Method(
    name="scrub",
    citation="Kurmanji, Triantafillou, Hayes, Triantafillou. Towards unbounded machine unlearning. NeurIPS 2023",
    needs_retain=True,
    settings=ScrubSettings,
    run=_run,
)
