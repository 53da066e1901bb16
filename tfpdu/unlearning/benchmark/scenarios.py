"""What is asked to be forgotten: scenarios by name, each a task on one table of training rows.

References:
  [1] Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru. Towards adversarial evaluations for inexact machine unlearning. 2022:
      interclass confusion.
  [2] Zhao, Kurmanji, Barbulescu, Triantafillou, Triantafillou. What makes unlearning hard and what to do about it.
      NeurIPS 2024: the more a row is memorised, the harder it is to forget.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import hashed_order
from tfpdu.common.validation import did_you_mean, one_of
from tfpdu.data.records import Records

Memorised = Callable[[], np.ndarray]
"""() -> float[n], how much better a row is known by the model that learned it than by models that did not."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A scenario on a table of n training rows.

    Attributes:
      scenario: its name.
      requests: bool[n] each, the rows of each request, in order; disjoint, and never all rows together.
      labels: int32[n], what the original model learns; the table's own but for "confusion".
      retained: whether retained rows are at hand when it is unlearned.
      confused: the two classes that "confusion" mixed up, or None.
    """

    scenario: str
    requests: tuple[np.ndarray, ...]
    labels: np.ndarray
    retained: bool = True
    confused: tuple[int, int] | None = None

    @property
    def forget(self) -> np.ndarray:
        """bool[n], the rows of all requests."""
        return np.logical_or.reduce(self.requests)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A scenario by name: "kind" or "kind:what", as the table of `KINDS` says.

    Attributes:
      name: as it was given.
      kind: in `KINDS`.
      what: behind the colon.
    """

    name: str
    kind: str
    what: str

    @classmethod
    def parse(cls, name: str) -> "Scenario":
        """Raises `UserError` where the kind is unknown."""
        kind, _, what = name.partition(":")
        one_of(KINDS, scenario=kind)
        return cls(name, kind, what)

    @property
    def slug(self) -> str:
        """The name as a part of a file's name."""
        return "".join(c if c.isalnum() or c in ".-" else "_" for c in self.name)

    @property
    def needs_memorised(self) -> bool:
        """Whether a trained model decides which rows are asked for."""
        return self.kind == "worst"

    def task(self, table: Records, seed: int, memorised: Memorised | None = None) -> Task:
        """The rows to forget, drawn by hashes of (seed, id).

        Args:
          table: the training rows.
          seed: of the draw; no two scenarios of one seed share it.
          memorised: for "worst" alone.

        Raises:
          UserError: there are no such rows, or no others.
        """
        task = KINDS[self.kind][0](_Draw(self, table, seed, memorised))
        count = int(task.forget.sum())
        if not all(request.any() for request in task.requests):
            raise UserError(f"scenario {self.name}: no rows to forget")
        if count == len(table):
            raise UserError(f"scenario {self.name}: all {count} rows would be forgotten")
        return task


@dataclasses.dataclass(frozen=True)
class _Draw:
    """What a kind of scenario works with."""

    scenario: Scenario
    table: Records
    seed: int
    memorised: Memorised | None

    def share(self, text: str) -> int:
        """Rows of the table that a share in (0, 1) stands for."""
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 < share < 1:
            raise UserError(f"scenario {self.scenario.name}: expected a share such as 0.1, got {text!r}")
        return max(1, round(share * len(self.table)))

    def order(self, among: np.ndarray | None = None) -> np.ndarray:
        """Row numbers in hashed order, of all rows or of bool[n]."""
        order = hashed_order(self.table.ids.tolist(), self.seed, "scenario", self.scenario.name)
        return order if among is None else order[among[order]]

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """bool[n] of row numbers."""
        chosen = np.zeros(len(self.table), bool)
        chosen[numbers] = True
        return chosen

    def task(self, *requests: np.ndarray, **more: Any) -> Task:
        """The task of these requests."""
        return Task(self.scenario.name, requests, **{"labels": self.table.labels, **more})

    def label(self, name: str) -> int:
        """A class by its name or number."""
        names = self.table.label_names
        if name in names:
            return names.index(name)
        if name.isdigit() and int(name) < len(names):
            return int(name)
        raise UserError(f"scenario {self.scenario.name}: unknown class {name!r}{did_you_mean(name, names)}")


def _random(draw: _Draw) -> Task:
    return draw.task(draw.rows(draw.order()[: draw.share(draw.scenario.what)]))


def _no_retain(draw: _Draw) -> Task:
    return dataclasses.replace(_random(draw), retained=False)


def _class(draw: _Draw) -> Task:
    return draw.task(draw.table.labels == draw.label(draw.scenario.what))


def _subject(draw: _Draw) -> Task:
    subjects, name = draw.table.subjects, draw.scenario.what
    if subjects is None or not (subjects != "").any():
        raise UserError(f"scenario {draw.scenario.name}: the data set knows no subjects")
    names, counts = np.unique(subjects[subjects != ""], return_counts=True)
    if name and name not in names:
        raise UserError(f"scenario {draw.scenario.name}: no rows of the subject {name!r}")
    return draw.task(subjects == (name or names[counts.argmax()]))


def _group(draw: _Draw) -> Task:
    condition, _, share = draw.scenario.what.partition(":")
    attribute, equals, value = condition.partition("=")
    if not equals:
        raise UserError(f"scenario {draw.scenario.name}: expected group:attribute=value or group:attribute=value:0.1")
    values = draw.table.spec(attribute).values
    one_of(values, **{f"scenario {draw.scenario.name}": value})
    order = draw.order(draw.table.column(attribute) == values.index(value))
    return draw.task(draw.rows(order[: draw.share(share)] if share else order))


def _successive(draw: _Draw) -> Task:
    times, _, share = draw.scenario.what.partition("x")
    if not times.isdigit() or not int(times):
        raise UserError(f"scenario {draw.scenario.name}: expected requests and share, such as successive:5x0.02")
    each, order = draw.share(share), draw.order()
    if int(times) * each >= len(draw.table):
        raise UserError(f"scenario {draw.scenario.name}: {times} times {each} are all {len(draw.table)} rows")
    return draw.task(*(draw.rows(order[i * each : (i + 1) * each]) for i in range(int(times))))


def _confusion(draw: _Draw) -> Task:
    """The labels of n rows of either class are swapped; these rows are then to be forgotten [1]."""
    first, _, rest = draw.scenario.what.partition("-")
    second, _, share = rest.partition(":")
    classes = draw.label(first), draw.label(second)
    if classes[0] == classes[1]:
        raise UserError(f"scenario {draw.scenario.name}: expected two classes")
    labels, swapped = draw.table.labels.copy(), []
    for own, other in (classes, classes[::-1]):
        order = draw.order(draw.table.labels == own)
        chosen = order[: max(1, round(float(share or 0.5) * len(order)))]
        labels[chosen] = other
        swapped.append(chosen)
    return draw.task(draw.rows(np.concatenate(swapped)), labels=labels, confused=classes)


def _worst(draw: _Draw) -> Task:
    """The rows that are memorised most [2]: what others do not know of them, only these rows themselves have taught."""
    if draw.memorised is None:
        raise UserError(f"scenario {draw.scenario.name}: needs a model, and reference models")
    order = np.argsort(-draw.memorised(), kind="stable")
    return draw.task(draw.rows(order[: draw.share(draw.scenario.what)]))


KINDS: dict[str, tuple[Callable[[_Draw], Task], str]] = {
    "random": (_random, "random:0.1, a share of all rows"),
    "class": (_class, "class:automobile, all rows of a class"),
    "subject": (_subject, "subject:ada, all rows of a person; subject, of the one with the most rows"),
    "group": (_group, "group:gender=female or group:gender=female:0.1, rows of one group, a share of all rows"),
    "successive": (_successive, "successive:5x0.02, requests that follow each other"),
    "no_retain": (_no_retain, "no_retain:0.1, a share, and retained rows are not at hand"),
    "confusion": (_confusion, "confusion:cat-dog:0.5, a share of two classes that was learned with swapped labels"),
    "worst": (_worst, "worst:0.1, the rows that are memorised most"),
}


def class_quotas(labels: np.ndarray, wanted: np.ndarray, most: int) -> np.ndarray:
    """How many rows to take of each class, so that the classes have the shares that they have among others.

    Args:
      labels: int[n] of the rows to take from.
      wanted: int[m] of the others; at least one.
      most: rows in all.

    Returns:
      int[C]: as many as there can be; 0 for classes that the others have not.
    """
    classes = int(max(labels.max(), wanted.max())) + 1
    there, shares = np.bincount(labels, minlength=classes), np.bincount(wanted, minlength=classes)
    asked = shares > 0
    factor = min((there[asked] / shares[asked]).min(), most / len(wanted))
    # Not below a whole number that the product is but for rounding.
    return np.asarray(np.floor(shares * factor + 1e-9), int)
