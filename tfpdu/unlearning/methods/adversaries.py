"""Adversarial pictures: the nearest ones, found by doubling, that a model calls something else.

References:
  [1] Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran. Not all wrong is bad: using adversarial examples for unlearning.
      ICML 2025, algorithm 1.
  [2] Goodfellow, Shlens, Szegedy. Explaining and harnessing adversarial examples. ICLR 2015.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.audit.ball import ascend
from tfpdu.common import UserError
from tfpdu.common.files import weights_hash
from tfpdu.common.validation import one_of, positive
from tfpdu.ensemble.networks import answers, compiled_graph, image_gradient
from tfpdu.unlearning.methods.base import Examples


@dataclasses.dataclass(frozen=True)
class AttackSettings:
    """How adversarial pictures are looked for. Lengths are shares of the pixels' range: 0.04 is 10.2 for 0..255.

    Attributes:
      attack: "pgd": L2, `steps` steps of epsilon/10 along the gradient, back into the ball after each, stopping at the
        first picture with another label [1]; "fgsm": one step along the gradient's sign, L-infinity [2].
      epsilon: the first radius, to be doubled; [1] chooses one with which 95 % of some 100 rows succeed. For "fgsm"
        1/255 is a good start.
      max_epsilon: no larger radius is tried; rows that need one are left out.
      steps: of "pgd" for each radius, all from the row itself.
      pixel_max: the largest pixel, 255 or 1; the smallest is 0. Normalisation belongs inside the model.
      batch: rows a call.
    """

    attack: str = "pgd"
    epsilon: float = 0.04
    max_epsilon: float = 10.24
    steps: int = 50
    pixel_max: float = 255.0
    batch: int = 250

    def __post_init__(self) -> None:
        one_of(("pgd", "fgsm"), attack=self.attack)
        positive(epsilon=self.epsilon, steps=self.steps, pixel_max=self.pixel_max, batch=self.batch)
        if not self.epsilon <= self.max_epsilon < np.inf:
            raise UserError(f"max_epsilon: expected at least epsilon={self.epsilon:g}, got {self.max_epsilon:g}")


@dataclasses.dataclass(frozen=True)
class Adversaries:
    """Adversarial pictures of some rows, and who made them.

    Attributes:
      examples: the pictures float32[m, h, w, c], with the labels that the model gives them, and "<id>/adversarial".
      sources: strings [m], the ids of the rows they were made from.
      epsilon: float64[m], the radius with which each was found, a share of the pixels' range.
      failed: ids of rows for which `max_epsilon` did not do.
      model: the hash of the weights of the model that made them.
      passes: pictures put through the model forward and, for "pgd", backward.
    """

    examples: Examples
    sources: np.ndarray
    epsilon: np.ndarray
    failed: np.ndarray
    model: str
    passes: int

    def of(self, ids: np.ndarray) -> Examples:
        """The examples made from these rows, as far as there are any."""
        return self.examples.take(np.isin(self.sources, np.asarray(ids, str)))

    def require_maker(self, model: keras.Model, where: str, otherwise: str = "") -> None:
        """Raises `UserError`, naming `where` they were given, if another model made them."""
        if self.model != weights_hash(model):
            raise UserError(f"{where}: another model made them; leave them out to make new ones{otherwise}")


def build_adversaries(model: keras.Model, rows: Examples, settings: AttackSettings) -> Adversaries:
    """Finds, for each row, a near picture with another label than the model gives the row itself.

    Where that label is wrong already, the attack leads away from it all the same, so the row's own label is no special
    case. Each picture's distance from its row is at most epsilon * pixel_max, and epsilon is the smallest of
    epsilon, 2 epsilon, 4 epsilon, … with which the attack, started from the row, succeeds.

    Args:
      model: images to logits, used in evaluation mode.
      rows: n of them; their labels are not looked at.
      settings: of the attack.
    """
    given = answers(model, rows.images).argmax(1)  # [n]
    search = _pgd if settings.attack == "pgd" else _fgsm_doubling
    found, labels, epsilon, passes = np.empty(rows.images.shape, np.float32), given.copy(), np.zeros(len(rows)), 0
    for row, picture, label, radius, used in search(model, rows, given, settings):
        passes += used
        if picture is not None:
            found[row], labels[row], epsilon[row] = picture, label, radius
    done = np.flatnonzero(labels != given)
    ids = np.asarray(rows.ids, str)
    named = np.array([f"{row_id}/adversarial" for row_id in ids[done]], str)
    failed = ids[labels == given]
    return Adversaries(
        Examples(found[done], labels[done], named), ids[done], epsilon[done], failed, weights_hash(model), passes
    )


def fgsm(
    model: keras.Model, images: Any, labels: np.ndarray, bound: float, pixel_max: float, batch: int = 250
) -> np.ndarray:
    """x + bound * pixel_max * sign(gradient of the loss), cut to 0..pixel_max: float32[n, h, w, c] [2]."""
    moved = [
        np.clip(x + np.float32(bound * pixel_max) * sign, 0, np.float32(pixel_max))
        for _, x, sign in _signs(model, images, np.asarray(labels), batch)
    ]
    return np.concatenate(moved)


Found = tuple[int, np.ndarray | None, int, float, int]  # row, picture or none, its label, radius, passes


def _pgd(model: keras.Model, rows: Examples, given: np.ndarray, settings: AttackSettings) -> Iterator[Found]:
    """Every call is full as long as rows wait: one that is done makes room for the next, so no pass is wasted."""
    shape = tf.TensorSpec((None, *rows.images.shape[1:]), tf.float32)
    vector = tf.TensorSpec((None,), tf.float32)
    signature = [shape, shape, tf.TensorSpec((None,), tf.int32), vector, tf.TensorSpec((), tf.float32)]
    step = compiled_graph(signature, _pgd_step, model)
    row = np.zeros(0, int)  # [b], the rows at work, with their state: start, now, radius, steps, passes
    start = now = np.zeros((0, *rows.images.shape[1:]), np.float32)
    radius, steps, used, waiting = np.zeros(0), np.zeros(0, int), np.zeros(0, int), 0
    while waiting < len(rows) or len(row):
        new = np.arange(waiting, min(len(rows), waiting + settings.batch - len(row)))
        if len(new):
            waiting += len(new)
            pictures = np.asarray(rows.images[new], np.float32)
            row, start, now = np.append(row, new), np.append(start, pictures, 0), np.append(now, pictures, 0)
            radius = np.append(radius, np.full(len(new), settings.epsilon))
            steps, used = np.append(steps, 0 * new), np.append(used, 0 * new)
        label, moved = step(start, now, given[row].astype(np.int32), np.float32(radius), np.float32(settings.pixel_max))
        label, used = label.numpy(), used + 1
        over, spent = label != given[row], steps == settings.steps
        lost = ~over & spent & (2 * radius > settings.max_epsilon)
        for i in np.flatnonzero(over | lost):
            yield int(row[i]), now[i] if over[i] else None, int(label[i]), float(radius[i]), int(used[i])
        now = np.where(spent[:, None, None, None], start, moved.numpy())
        radius, steps = np.where(spent, 2 * radius, radius), np.where(spent, 0, steps + 1)
        stay = ~(over | lost)
        row, start, now, radius, steps, used = (a[stay] for a in (row, start, now, radius, steps, used))


def _pgd_step(model: Any, start: Any, now: Any, labels: Any, radius: Any, pixel_max: Any) -> Any:
    """The labels of the pictures [b, h, w, c] as they are, and the pictures one step further."""
    logits, gradient = image_gradient(model, now, labels)
    length = radius * pixel_max  # [b]
    return tf.argmax(logits, 1, tf.int32), ascend(start, now, gradient, length / 10, length, pixel_max, "l2")


def _fgsm_doubling(model: keras.Model, rows: Examples, given: np.ndarray, settings: AttackSettings) -> Iterator[Found]:
    """One gradient a row; then doubling needs nothing but answers."""
    for place, pictures, signs in _signs(model, rows.images, given, settings.batch):
        left, radius, used = np.arange(len(place)), settings.epsilon, 1
        while len(left) and radius <= settings.max_epsilon:
            reach = np.float32(radius * settings.pixel_max)
            moved = np.clip(pictures[left] + reach * signs[left], 0, np.float32(settings.pixel_max))
            label, used = answers(model, moved).argmax(1), used + 1
            over = label != given[place[left]]
            for i in np.flatnonzero(over):
                yield int(place[left[i]]), moved[i], int(label[i]), radius, used
            left, radius = left[~over], 2 * radius
        yield from ((int(place[i]), None, 0, radius, used) for i in left)


def _signs(
    model: keras.Model, images: Any, labels: np.ndarray, batch: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batch after batch: row numbers, pictures float32[b, h, w, c] and the signs of their gradients."""
    shape = tf.TensorSpec((None, *images.shape[1:]), tf.float32)
    compiled = compiled_graph([shape, tf.TensorSpec((None,), tf.int32)], image_gradient, model)
    for first in range(0, len(labels), batch):
        place = np.arange(first, min(first + batch, len(labels)))
        pictures = np.asarray(images[place], np.float32)
        _, gradient = compiled(pictures, labels[place].astype(np.int32))
        yield place, pictures, np.sign(gradient.numpy())
