"""The signals that an attack sees: one model's answers on the plain images and on their training views.

Some attacks need more: the answers of reference models, of an earlier version of the model, or on perturbed images.
These are the `EXTRAS` of `Signals`, None unless somebody asked for them.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfpdu.audit.losses import cross_entropy
from tfpdu.common.errors import UserError
from tfpdu.data.records import Records

if TYPE_CHECKING:
    from tfpdu.data.views import ViewPolicy

Predict = Callable[[np.ndarray], np.ndarray]
"""uint8 images [m, h, w, c] -> float64 probabilities [m, C], in evaluation mode."""


@dataclasses.dataclass(frozen=True)
class References:
    """What R reference models answer on n rows; see `tfpdu.audit.references` for where they come from.

    Which models may be used for a row must not tell whether the *audited* model was trained on it: an attack would
    read the answer off this table.

    Attributes:
      probabilities: float64[n, R], each model's probability of the row's true class on the plain image; NaN where the
        model is not to be used for the row.
      included: bool[n, R], this reference model was trained on the row.
    """

    probabilities: np.ndarray
    included: np.ndarray

    def __post_init__(self) -> None:
        p, included = np.asarray(self.probabilities), np.asarray(self.included)
        if p.ndim != 2 or not p.shape[1] or p.dtype.kind != "f":
            raise UserError(f"references: expected probabilities float[n, R], got {p.dtype}{list(p.shape)}")
        if included.shape != p.shape or included.dtype != bool:
            raise UserError(f"references: expected included bool{list(p.shape)}, got {included.dtype}{included.shape}")
        if ((p < 0) | (p > 1)).any() or np.isinf(p).any():  # NaN passes
            raise UserError("references: expected probabilities from 0 to 1, or NaN; are these logits?")

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: np.ndarray) -> "References":
        return References(self.probabilities[rows], self.included[rows])

    def of_models(self, models: np.ndarray) -> "References":
        """The same rows by the models chosen with an index or boolean array, in that order."""
        return References(self.probabilities[:, models], self.included[:, models])


EXTRAS = ("references", "adversarial", "earlier")


@dataclasses.dataclass(frozen=True)
class Signals:
    """What one model answers on n rows.

    Attributes:
      ids: strings [n].
      labels: int[n], the true classes.
      losses0: float64[n], cross-entropy in nats on the plain image.
      losses: float64[n, N], cross-entropy on each of the N views of the row.
      probabilities: float64[n, C], the answer on the plain image.
      references: what reference models answer, or None.
      adversarial: float64[n, C], the answer on images perturbed against the model (`perturbed_images`), or None.
      earlier: float64[n, C], the answer of an earlier version of the model, such as before a deletion, or None.
    """

    ids: np.ndarray
    labels: np.ndarray
    losses0: np.ndarray
    losses: np.ndarray
    probabilities: np.ndarray
    references: References | None = None
    adversarial: np.ndarray | None = None
    earlier: np.ndarray | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        for field in ("labels", "losses0", "losses", "probabilities", *EXTRAS):
            value = getattr(self, field)
            if value is not None and len(value) != n:
                raise UserError(f"signals: {field} has {len(value)} rows, ids have {n}")
        if self.losses.ndim != 2:
            raise UserError(f"signals: losses must be [n, N], got shape {list(self.losses.shape)}")
        for field in ("adversarial", "earlier"):
            value = getattr(self, field)
            if value is not None and value.shape != self.probabilities.shape:
                raise UserError(
                    f"signals: {field} must be {list(self.probabilities.shape)} as the answers, got {list(value.shape)}"
                )

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> "Signals":
        """The rows chosen by an index or boolean array, in that order."""
        columns: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Signals(**{name: None if column is None else column[rows] for name, column in columns.items()})

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
      block_rows: how many images, views among them, go to `predict` at once, at most; twice as many are in memory.
    """
    from tfpdu.data.views import render

    n = len(records)
    losses0, losses = np.empty(n), np.empty((n, policy.count))
    probabilities = np.empty((n, records.classes))
    order, views = np.argsort(records.ids, kind="stable"), range(policy.count)
    size = max(1, block_rows // (1 + policy.count))
    for start in range(0, n, size):
        rows = order[start : start + size]
        images, ids, labels = records.images[rows], records.ids[rows], records.labels[rows]
        shown = [images, *(render(images, ids, np.full(len(rows), j), policy, seed) for j in views)]
        answers = ask(predict, np.concatenate(shown), records.classes, block_rows)  # [(1 + N) b, C]
        plain, *viewed = answers.reshape(1 + policy.count, len(rows), -1)  # each [b, C]
        probabilities[rows], losses0[rows] = plain, cross_entropy(plain, labels)
        for j in views:
            losses[rows, j] = cross_entropy(viewed[j], labels)
    return Signals(records.ids, records.labels.astype(np.int64), losses0, losses, probabilities)


def ask(predict: Predict, images: np.ndarray, classes: int, block_rows: int | None = None) -> np.ndarray:
    """The model's answers float64[n, C] on uint8 images [n, h, w, c], at most `block_rows` at once if that is given."""
    size = max(1, block_rows or len(images))
    blocks = [np.asarray(predict(images[s : s + size]), np.float64) for s in range(0, len(images), size)]
    answer = np.concatenate(blocks) if blocks else np.empty((0, classes))
    if answer.shape != (len(images), classes):
        raise UserError(f"predict: expected probabilities [{len(images)}, {classes}], got {list(answer.shape)}")
    return answer
