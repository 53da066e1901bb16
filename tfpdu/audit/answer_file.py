"""Bare answers of any framework's model, in one .npz file: logits or probabilities, and what they are answers to."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.losses import checked, cross_entropy, cross_entropy_from_logits
from tfpdu.audit.signals import References, Signals
from tfpdu.common import files
from tfpdu.common.errors import UserError
from tfpdu.common.validation import did_you_mean, one_of
from tfpdu.data.records import Records

SIDES = ("members", "nonmembers")
OPTIONAL = ("ids", "subjects", "references", "included", "earlier", "adversarial")
_MOST_SHARED = 0.01  # of a side: answers that are on the other side to the last bit, where rows have no ids


@dataclasses.dataclass(frozen=True)
class Answers:
    """The content of an answer file.

    Attributes:
      members: rows without pictures: labels, ids, subjects.
      nonmembers: the same.
      signals: of all rows; N is 0 where the file has no views.
    """

    members: Records
    nonmembers: Records
    signals: Signals

    @property
    def views(self) -> int:
        """N, how many views of each row were asked about."""
        return int(self.signals.losses.shape[1])

    def ask(self, records: Records) -> Signals:
        """The signals of these rows, as `tfpdu.audit.attack_populations` wants them."""
        return self.signals.of(records.ids)


def read_answers(path: str | os.PathLike[str], kind: str) -> Answers:
    """Reads an answer file.

    Its arrays: `members` [n1, C], or [n1, 1 + N, C] with the plain image first and then N views; `members_labels`
    whole numbers [n1] from 0; if wished `members_ids` and `members_subjects` strings [n1], `members_references`
    [n1, R], the true class's probability by R reference models (NaN: not to be used for the row), with
    `members_included` bool[n1, R], that model was trained on the row (default: none was), and `members_earlier` and
    `members_adversarial` [n1, C], see `Signals`, of the same kind as `members`. The same for `nonmembers`.

    Args:
      path: the file.
      kind: "logits" or "probabilities", what the answers are.

    Raises:
      UserError: an array is missing, unknown or of another shape, answers are not of the kind (a NaN, probabilities
        that do not sum to 1, probabilities where logits are claimed), a row is on both sides.
    """
    one_of(("logits", "probabilities"), kind=kind)
    arrays = files.read_npz(path)
    _check_names(path, arrays)
    sides, tables = [], []
    for side in SIDES:
        own = {name: arrays[f"{side}_{name}"] for name in ("labels", *OPTIONAL) if f"{side}_{name}" in arrays}
        try:
            sides.append(_signals(side, arrays[side], own, kind))
            tables.append(_records(sides[-1], own.get("subjects")))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    _check_classes(path, arrays)
    _check_apart(path, arrays)
    return Answers(tables[0], tables[1], _joined(sides))


def _check_names(path: Any, arrays: Mapping[str, np.ndarray]) -> None:
    known = [*SIDES, *(f"{side}_{name}" for side in SIDES for name in ("labels", *OPTIONAL))]
    for name in arrays:
        if name not in known:
            raise UserError(f"{path}: unknown array {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    for name in (*SIDES, *(f"{side}_labels" for side in SIDES)):
        if name not in arrays:
            raise UserError(f"{path}: holds no array {name!r}; it has {', '.join(sorted(arrays)) or 'none'}")
    for name in OPTIONAL:
        has = [f"{side}_{name}" in arrays for side in SIDES]
        if has[0] != has[1]:
            raise UserError(f"{path}: holds {name} of {SIDES[has[1]]} alone")
    if "members_included" in arrays and "members_references" not in arrays:
        raise UserError(f"{path}: holds members_included and no members_references")


def _signals(side: str, answers: np.ndarray, own: Mapping[str, np.ndarray], kind: str) -> Signals:
    if answers.dtype.kind not in "fiu" or answers.ndim not in (2, 3) or 0 in answers.shape:
        raise UserError(f"{side}: expected numbers [n, C] or [n, 1 + N, C], got {answers.dtype}{list(answers.shape)}")
    if answers.shape[-1] < 2:
        raise UserError(f"{side}: one class; of a sigmoid's p give both columns, 1 - p and p (of its logit z: 0 and z)")
    labels = own["labels"]
    for name, array in own.items():
        if len(array) != len(answers):
            raise UserError(f"{side}_{name} has {len(array)} rows, {side} has {len(answers)}")
    queries = answers[:, None] if answers.ndim == 2 else answers
    asked = [_answer(side, queries[:, j], labels, kind) for j in range(queries.shape[1])]
    losses = [loss for _, loss in asked]
    n, ids = len(answers), own.get("ids")
    return Signals(
        ids=_texts(f"{side}_ids", ids) if ids is not None else np.array([f"{side}/{row:07d}" for row in range(n)]),
        labels=labels.astype(np.int64),
        losses0=losses[0],
        losses=np.stack(losses[1:], 1) if len(losses) > 1 else np.empty((n, 0)),
        probabilities=asked[0][0],
        references=_references(side, own),
        **{name: _answer(f"{side}_{name}", own[name], labels, kind)[0] for name in OPTIONAL[-2:] if name in own},
    )


def _answer(name: str, answers: np.ndarray, labels: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities float64[n, C] and losses float64[n] of one query; raises where they are not of the kind."""
    try:
        if kind == "probabilities":
            return checked(answers, labels)[0], cross_entropy(answers, labels)
        losses = cross_entropy_from_logits(answers, labels)
        refuse_probabilities(answers)
        return special.softmax(answers.astype(np.float64), axis=1), losses
    except UserError as error:
        raise UserError(f"{name}: {error}") from None


def refuse_probabilities(answers: np.ndarray) -> None:
    """Raises where answers [n, C] that are claimed to be logits are all distributions."""
    if len(answers) and answers.min() >= 0 and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise UserError("logits are claimed, but every row sums to 1 and none is negative; are these probabilities?")


def _references(side: str, own: Mapping[str, np.ndarray]) -> References | None:
    if "references" not in own:
        return None
    probabilities = own["references"].astype(np.float64)
    try:
        return References(probabilities, own.get("included", np.zeros(probabilities.shape, bool)))
    except UserError as error:
        raise UserError(f"{side}_{error}") from None


def _records(signals: Signals, subjects: np.ndarray | None) -> Records:
    n, classes = signals.probabilities.shape
    return Records(
        images=np.zeros((n, 1, 1, 1), np.uint8),
        labels=signals.labels.astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=signals.ids,
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=tuple(map(str, range(classes))),
        subjects=None if subjects is None else _texts("subjects", subjects),
    )


def _texts(name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise UserError(f"{name}: expected strings [n], got {values.dtype}{list(values.shape)}")
    return values.astype(str)


def _check_classes(path: Any, arrays: Mapping[str, np.ndarray]) -> None:
    shapes = [arrays[side].shape[1:] for side in SIDES]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{path}: members have {list(shapes[0])} numbers a row, nonmembers {list(shapes[1])}; expected as many"
        )


def _check_apart(path: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Members are no non-members: by ids, or else by answers that are equal to the last bit."""
    if "members_ids" in arrays:
        shared = np.intersect1d(arrays["members_ids"].astype(str), arrays["nonmembers_ids"].astype(str))
        if shared.size:
            raise UserError(f"{path}: id {shared[0]!r} is in members_ids and in nonmembers_ids ({shared.size} such)")
        return
    rows, counts = [], []
    for side in SIDES:
        table = np.concatenate([arrays[side].reshape(len(arrays[side]), -1), arrays[f"{side}_labels"][:, None]], 1)
        found, many = np.unique(table, axis=0, return_counts=True)
        rows.append({row.tobytes() for row in found[many == 1].astype(np.float64)})  # a saturated answer tells nothing
        counts.append(len(table))
    share = len(rows[0] & rows[1]) / min(counts)
    if share > _MOST_SHARED:
        raise UserError(
            f"{path}: {share:.0%} of the rows are members and nonmembers at once, by answers equal to the last bit"
        )


def _joined(sides: list[Signals]) -> Signals:
    first, second = sides
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(Signals):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, References):
            if a.probabilities.shape[1] != b.probabilities.shape[1]:
                raise UserError("references: members and nonmembers have different numbers of reference models")
            columns[field.name] = References(
                np.concatenate([a.probabilities, b.probabilities]), np.concatenate([a.included, b.included])
            )
        else:
            columns[field.name] = None if a is None else np.concatenate([a, b])
    return Signals(**columns)
