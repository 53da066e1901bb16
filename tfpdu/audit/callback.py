"""Membership inference while a Keras model trains."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfpdu.audit.attacks import new_attack, required
from tfpdu.audit.membership import AuditSettings, audit_rows
from tfpdu.audit.models import AuditedModel, of_keras
from tfpdu.audit.subject import Subject, subject_of_model
from tfpdu.common.errors import UserError
from tfpdu.common.validation import positive
from tfpdu.data.records import Records
from tfpdu.data.views import ViewPolicy


class MembershipAudit(keras.callbacks.Callback):
    """Attacks the model at the end of every n-th epoch, and of the last one of the training.

    Success rates and AUCs go into `logs`, as `audit_<attack>_success` and `audit_<attack>_auc`, so that `History`,
    `CSVLogger` and, behind this one in the list, `EarlyStopping` see them; and, with `log_dir`, to TensorBoard, under
    `audit/`. The last audit's rows, with intervals, are in `rows`.

        audit = MembershipAudit((x_train, y_train), (x_held_out, y_held_out), every=5, log_dir="logs")
        model.fit(x_train, y_train, epochs=50, callbacks=[audit])

    To look at the audit while training, and to stop by it, makes its later numbers flatter than those of an audit that
    is made once: keep rows aside for that.

    Args:
      members: images uint8[n1, h, w, c] and labels int[n1] of rows that the model is trained on.
      nonmembers: images and labels of rows that it is not trained on.
      every: epochs.
      attacks: names in `tfpdu.audit.ATTACKS` that need no more than the model's answers.
      rows: members, and non-members, a role at most.
      pixels: what the model gets: "0..255", "0..1" or "uint8".
      answers: what it gives: "logits", "probabilities" or "auto".
      policy: of the views, for M-Mean and Moments.
      seed: of roles, draws, views and attacks.
      log_dir: of TensorBoard.

    Raises:
      UserError: the sides do not fit together, or an attack needs more.
    """

    def __init__(
        self,
        members: tuple[Any, Any],
        nonmembers: tuple[Any, Any],
        *,
        every: int = 1,
        attacks: Sequence[str] = ("m_loss",),
        rows: int = 500,
        pixels: str = "0..255",
        answers: str = "auto",
        policy: ViewPolicy | None = None,
        seed: int = 0,
        log_dir: str | Path = "",
    ):
        super().__init__()
        positive(every=every)
        for name in attacks:
            if needed := required(new_attack(name)):
                raise UserError(f"attack {name}: needs {', '.join(needed)}, which a training does not give")
        self.rows: list[dict[str, Any]] = []
        self._every, self._seed, self._log_dir = every, seed, str(log_dir)
        self._settings = AuditSettings(rows=rows, attacks=tuple(attacks))
        self._policy = policy or ViewPolicy()
        self._options = {"pixels": pixels, "answers": answers}
        classes = 1 + max(int(np.max(labels)) for _, labels in (members, nonmembers))
        self._sides = [_records(side, classes, name) for side, name in ((members, "members"), (nonmembers, "others"))]
        self._audited: AuditedModel | None = None
        self._writer: Any = None
        self._epoch, self._done = -1, -1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Audits, if it is an epoch's turn."""
        self._epoch = epoch
        epochs = (self.params or {}).get("epochs")
        if (epoch + 1) % self._every == 0 or epoch + 1 == epochs:
            self._audit(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Audits after the last epoch, where the training was stopped before its time."""
        if self._epoch > self._done:
            self._audit(logs)
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _audit(self, logs: dict[str, Any] | None) -> None:
        if self._audited is None:
            self._audited = of_keras(self.model, title="MembershipAudit", **self._options)
        outcomes, _ = self._subject(self._audited).attack(self._settings, note=lambda line: None)
        self.rows, self._done = audit_rows(outcomes, self._settings, self._epoch), self._epoch
        for row in self.rows:
            for words, key in (("success", "success_rate"), ("auc", "auc")):
                if logs is not None:
                    logs[f"audit_{row['attack']}_{words}"] = row[key]
                if self._log_dir:
                    self._write(f"audit/{row['attack']}/{words}", row[key])

    def _subject(self, model: AuditedModel) -> Subject:
        sides = [_with_classes(side, model.classes) for side in self._sides]
        return subject_of_model(model, *sides, policy=self._policy, seed=self._seed, title="MembershipAudit")

    def _write(self, name: str, value: float) -> None:
        import tensorflow as tf

        if self._writer is None:
            self._writer = tf.summary.create_file_writer(self._log_dir)
        with self._writer.as_default():
            tf.summary.scalar(name, value, step=self._epoch)
        self._writer.flush()


def _records(side: tuple[Any, Any], classes: int, name: str) -> Records:
    images, labels = (np.asarray(part) for part in side)
    labels = labels.reshape(-1)  # Keras' own data sets have labels [n, 1]
    if labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise UserError(
            f"MembershipAudit: {name}: expected labels int[{len(images)}], got {labels.dtype}[{len(labels)}]"
        )
    n = len(images)
    return Records(
        images=images,
        labels=labels.astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{name}/{row:07d}" for row in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=tuple(map(str, range(classes))),
    )


def _with_classes(side: Records, classes: int) -> Records:
    """The side with as many classes as the model has."""
    if classes < side.classes:
        raise UserError(f"MembershipAudit: the model has {classes} classes, labels go up to {side.classes - 1}")
    return dataclasses.replace(side, label_names=tuple(map(str, range(classes))))
