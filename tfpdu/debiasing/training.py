"""One training for every method: the same network, initial weights, steps and rates; rows, weights and loss differ."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from tfpdu.common.interrupt import safe_point
from tfpdu.common.seeds import stable_hash
from tfpdu.data import Records, ViewPolicy
from tfpdu.data.views import render, row_keys, training_views
from tfpdu.debiasing.batches import Batch, balanced_batches, plain_batches
from tfpdu.debiasing.losses import weighted_cross_entropy
from tfpdu.ensemble import EnsembleSettings
from tfpdu.ensemble.backbones import build_backbone
from tfpdu.ensemble.resnet import freeze
from tfpdu.ensemble.trainer import learning_rate
from tfpdu.ensemble.transfer import read_initial
from tfpdu.unlearning.methods import DescentSettings, Examples
from tfpdu.unlearning.methods.descent import Loss, Pass, descend

Build = Callable[[int], keras.Model]


@dataclasses.dataclass(frozen=True, eq=False)
class Lesson:
    """What a method gives to learn.

    Attributes:
      rows: n rows.
      column: float32[n], what the loss wants of a row beside its class: its weight, or its group.
      groups: int64[n], groups to be drawn evenly, -1 for none; None = row after row.
      loss: of logits [b, C] and targets [b, C + 1], whose last column is `column`.
    """

    rows: Records
    column: np.ndarray
    groups: np.ndarray | None = None
    loss: Loss = weighted_cross_entropy


@dataclasses.dataclass(frozen=True)
class Course:
    """How every classifier of a study is trained: as `config.ensemble` says, but one model on all rows.

    SGD and its rates are those of `tfpdu.ensemble.trainer`, except that the weight decay joins the gradient; it is
    scaled by 1 - momentum, by which it is as strong in the long run.

    Attributes:
      ensemble: network, epochs, batch, rates.
      views: of the training augmentation.
      rows: of S, which fix the number of steps for every method: epochs * ceil(rows / batch).
    """

    ensemble: EnsembleSettings
    views: ViewPolicy
    rows: int

    @property
    def steps(self) -> int:
        """Gradient steps of every training."""
        return self.ensemble.epochs * math.ceil(self.rows / self.ensemble.batch)

    @property
    def batch(self) -> int:
        """Rows a step: those of nearly equal batches of S."""
        return math.ceil(self.rows / math.ceil(self.rows / self.ensemble.batch))

    def train(self, model: keras.Model, lesson: Lesson, seed: int, steps: int | None = None) -> None:
        """Trains a model in place; nothing is stopped early, and no test row is seen.

        Args:
          model: pictures to logits.
          lesson: what to learn.
          seed: of order and views.
          steps: of a trial; None = all.

        Raises:
          StopRequested: a signal came; the training is lost.
          UserError: the loss is no longer finite.
        """
        settings, count = self.ensemble, steps or self.steps
        keys = row_keys(lesson.rows.ids)
        batches = self._batches(lesson, keys, seed)
        targets = _targets(lesson, settings.label_smoothing)

        def step(number: int) -> list[Pass]:
            safe_point()
            batch = next(batches)
            pictures = self._pictures(lesson.rows, keys, batch, seed)
            places = np.arange(len(batch.rows)).astype(str)  # a small group may give a row twice in a step
            some = Examples(pictures, lesson.rows.labels[batch.rows], places)
            rate = learning_rate(settings, number, count) / settings.learning_rate
            return [Pass(some, targets[batch.rows], lesson.loss, batch=len(places), rate=rate)]

        plain = DescentSettings(
            epochs=count,  # one step each
            learning_rate=settings.learning_rate,
            batch=settings.batch,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay * (1 - settings.momentum),
        )
        descend(model, step, plain, seed)

    def _batches(self, lesson: Lesson, keys: np.ndarray, seed: int) -> Iterator[Batch]:
        if lesson.groups is None:
            return plain_batches(keys, self.batch, seed)
        return balanced_batches(keys, lesson.groups, self.batch, seed)

    def _pictures(self, rows: Records, keys: np.ndarray, batch: Batch, seed: int) -> np.ndarray:
        """uint8[b, h, w, c], another view of a row each time it is drawn."""
        mine, view = keys[batch.rows], np.zeros(len(batch.rows), np.int64)
        for turn in np.unique(batch.turns):
            now = batch.turns == turn
            view[now] = training_views(mine[now], int(turn), self.views, seed)
        return render(np.asarray(rows.images[batch.rows]), mine, view, self.views, seed)


def builder(ensemble: EnsembleSettings, like: Records) -> Build:
    """seed -> an untrained network as config.ensemble has it, for such rows; the same seed gives the same bits."""
    options: dict[str, Any] = {
        "stem": ensemble.stem,
        "width": ensemble.width,
        "upscale": ensemble.image_upscale,
        "precision": ensemble.precision,
    }
    if ensemble.initial:
        options["weights"] = read_initial(ensemble.initial)
    shape = like.images.shape[1:]

    def build(seed: int) -> keras.Model:
        drawn = stable_hash(seed, "debiasing") % 2**31
        model = build_backbone("resnet18", (shape[0], shape[1], shape[2]), like.classes, seed=drawn, **options)
        freeze(model, ensemble.freeze)
        return model

    return build


def _targets(lesson: Lesson, smoothing: float) -> np.ndarray:
    """float32[n, C + 1]."""
    classes = lesson.rows.classes
    table = np.eye(classes) * (1 - smoothing) + smoothing / classes
    return np.column_stack([table[lesson.rows.labels], lesson.column]).astype(np.float32)
