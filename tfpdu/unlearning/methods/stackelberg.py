"""Adversarial unlearning as a Stackelberg game: the model moves knowing how an auditor will answer.

Algorithm: minimise cross-entropy on the retained rows + alpha * gain of the best auditor that tells forgotten rows from
strangers by the model's answers. Each epoch fine-tunes on the retained rows, then steps against the auditor, whose
optimum is differentiated by the implicit function theorem (`auditor`).

Differences from the authors': their auditor is a linear SVM with hinge loss, differentiated through its optimality
conditions by cvxpylayers, fitted for each class apart and in three random folds. Hinge loss is piecewise linear, so
its derivative is degenerate without a penalty; ours is logistic with a ridge, all classes at once, half of the rows to
fit and half to measure, dealt anew by hash each epoch. What it measures is smooth: log 2 minus its loss.

Pitfalls: strangers must have the forgotten rows' class histogram, or the auditor learns classes. They see the auditor,
so they may not serve to evaluate afterwards. Features come from evaluation mode: in training mode, as in the authors'
code, batch statistics would absorb the forgotten rows.
"""

import dataclasses
import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.common.seeds import mix
from tfpdu.common.validation import non_negative, one_of, positive
from tfpdu.unlearning.methods.auditor import auditor_gain
from tfpdu.unlearning.methods.base import Examples, Method, concatenate
from tfpdu.unlearning.methods.descent import (
    DescentSettings,
    Pass,
    classes_of,
    cross_entropy,
    descend,
    learning,
    one_hot,
)

LARGEST = 11  # features: ten logits and a loss


@dataclasses.dataclass(frozen=True)
class StackelbergSettings(DescentSettings):
    """As `DescentSettings`, with the authors' numbers.

    Attributes:
      nonmembers: rows that the model has never seen, with labels; needed.
      alpha: weight of the auditor's gain; the authors search from 0.05 to 5, and 0 is fine-tuning.
      features: what the auditor sees of a row: "logits": them and the loss, at most 11 numbers; "loss": it alone.
      ridge: of the auditor.
      audit_batch: rows a step against the auditor.
      audit_rate: of these steps, times the learning rate.
    """

    epochs: int = 30
    schedule: str = "cosine"
    nonmembers: Examples | None = None
    alpha: float = 1.0
    features: str = "logits"
    ridge: float = 0.01
    audit_batch: int = 1000
    audit_rate: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(alpha=self.alpha)
        positive(ridge=self.ridge, audit_batch=self.audit_batch, audit_rate=self.audit_rate)
        one_of(("logits", "loss"), features=self.features)


def audited(features: str, alpha: float, ridge: float, logits: Any, targets: Any) -> Any:
    """alpha * the auditor's gain on a batch, once for each row: logits [b, C], targets [b, C + 2] to [b].

    The targets are the label's distribution, membership (1 = to forget), and fit (1) or measure (0).
    """
    labels, members, training = tf.split(targets, [logits.shape[1], 1, 1], axis=1)
    seen = cross_entropy(logits, labels)[:, None]
    if features == "logits":
        seen = tf.concat([logits, seen], axis=1)
    gain = auditor_gain(seen, members[:, 0], training[:, 0], ridge)
    return alpha * tf.cast(gain, tf.float32) * tf.ones_like(logits[:, 0])


def _audience(forget: Examples, strangers: Examples | None, classes: int, settings: StackelbergSettings) -> Examples:
    if strangers is None or len(strangers) < 2:
        raise UserError(
            "stackelberg.nonmembers: needs rows that the model has not seen, with the forgotten rows' classes"
        )
    if settings.features == "logits" and classes + 1 > LARGEST:
        raise UserError(f"stackelberg.features: {classes} logits and a loss are more than {LARGEST}; choose 'loss'")
    known = np.intersect1d(np.asarray(forget.ids, str), np.asarray(strangers.ids, str))
    if len(known):
        raise UserError(f"stackelberg.nonmembers: {str(known[0])!r} is a row to forget")
    if np.max(strangers.labels) >= classes or np.min(strangers.labels) < 0:
        raise UserError(f"stackelberg.nonmembers: the model has classes 0 to {classes - 1}")
    return concatenate([forget, strangers])


def _run(
    model: keras.Model, forget: Examples, retain: Examples, settings: StackelbergSettings, seed: int
) -> keras.Model:
    classes = classes_of(model, forget)
    audience = _audience(forget, settings.nonmembers, classes, settings)
    member = (np.arange(len(audience)) < len(forget)).astype(np.float32)
    kept, labels = learning(model, retain), one_hot(audience.labels, classes)
    plain = np.zeros(len(audience), bool)
    # One object for all epochs, so that it is compiled once.
    loss = functools.partial(audited, settings.features, settings.alpha, settings.ridge)

    def plan(epoch: int) -> list[Pass]:
        half = np.empty(len(audience), np.float32)  # within members and within strangers, half are fitted on
        for side in (member == 1, member == 0):
            order = np.argsort(np.argsort(mix(audience.keys[side], seed, "fold", epoch), kind="stable"))
            half[side] = order % 2
        targets = np.concatenate([labels, member[:, None], half[:, None]], 1)
        audit = Pass(
            audience, targets, loss, settings.audit_batch, settings.audit_rate, training=False, augmented=plain
        )
        return [kept, audit]

    descend(model, plan, settings, seed)
    return model


STACKELBERG = Method(
    name="stackelberg",
    citation="Di, Yu, Vorobeychik, Liu. Adversarial machine unlearning. ICLR 2025",
    needs_retain=True,
    settings=StackelbergSettings,
    run=_run,
)
