"""The signals that an attack sees: one model's answers on the plain images and on their training views."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tfpdu.audit.losses import cross_entropy
from tfpdu.common.errors import UserError
from tfpdu.data.records import Records

if TYPE_CHECKING:
    from tfpdu.data.views import ViewPolicy

Predict = Callable[[np.ndarray], np.ndarray]
"""uint8 images [m, h, w, c] -> float64 probabilities [m, C], in evaluation mode."""


@dataclasses.dataclass(frozen=True)
class Signals:
    """What one model answers on n rows.

    Attributes:
      ids: strings [n].
      labels: int[n], the true classes.
      losses0: float64[n], cross-entropy in nats on the plain image.
      losses: float64[n, N], cross-entropy on each of the N views of the row.
      probabilities: float64[n, C], the answer on the plain image.
    """

    ids: np.ndarray
    labels: np.ndarray
    losses0: np.ndarray
    losses: np.ndarray
    probabilities: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.ids)
        for field in ("labels", "losses0", "losses", "probabilities"):
            if len(getattr(self, field)) != n:
                raise UserError(f"signals: {field} has {len(getattr(self, field))} rows, ids have {n}")
        if self.losses.ndim != 2:
            raise UserError(f"signals: losses must be [n, N], got shape {list(self.losses.shape)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "Signals":
        """The rows chosen by an index or boolean array, in that order."""
        return Signals(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def of(self, ids: np.ndarray) -> "Signals":
        """The rows with these ids, in that order; an unknown id raises."""
        order = np.argsort(self.ids)
        where = np.searchsorted(self.ids, ids, sorter=order)
        rows = order[np.minimum(where, len(self) - 1)]
        if (self.ids[rows] != ids).any():
            raise UserError(f"signals: unknown id {ids[self.ids[rows] != ids][0]!r}")
        return self.take(rows)


def collect_signals(
    predict: Predict, records: Records, policy: "ViewPolicy", seed: int, block_rows: int = 512
) -> Signals:
    """Asks the model about every row: once plain, and once for each of the policy's views.

    The views are drawn from (seed, id, view number): with the seed of the training they are a member's very training
    views; a non-member gets views of its own from the same distribution. Memory: `block_rows` images at a time.

    Args:
      predict: the model, see `Predict`.
      records: n rows; they are asked in the order of their ids, and returned in the order given.
      policy: how views are made; `policy.count` is N.
      seed: the training's seed.
      block_rows: how many images go to `predict` at once, at most.
    """
    from tfpdu.data.views import render

    n = len(records)
    losses0, losses = np.empty(n), np.empty((n, policy.count))
    probabilities = np.empty((n, records.classes))
    order = np.argsort(records.ids, kind="stable")
    for start in range(0, n, block_rows):
        rows = order[start : start + block_rows]
        images, ids, labels = records.images[rows], records.ids[rows], records.labels[rows]
        probabilities[rows] = _ask(predict, images, records.classes)
        losses0[rows] = cross_entropy(probabilities[rows], labels)
        for j in range(policy.count):
            views = render(images, ids, np.full(len(rows), j), policy, seed)  # uint8[b, h, w, c]
            losses[rows, j] = cross_entropy(_ask(predict, views, records.classes), labels)
    return Signals(records.ids, records.labels.astype(np.int64), losses0, losses, probabilities)


def _ask(predict: Predict, images: np.ndarray, classes: int) -> np.ndarray:
    answer = np.asarray(predict(images), np.float64)
    if answer.shape != (len(images), classes):
        raise UserError(f"predict: expected probabilities [{len(images)}, {classes}], got {list(answer.shape)}")
    return answer
