"""How a model that has forgotten stands attacks, and how its layers spread the classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfpdu.audit import ROBUSTNESS_ATTACKS, layer_spread_gaps, robust_accuracy
from tfpdu.common import UserError
from tfpdu.common.seeds import hashed_order
from tfpdu.unlearning.benchmark.measures import Asked, Population
from tfpdu.unlearning.benchmark.models import Tables
from tfpdu.unlearning.benchmark.scenarios import Task

SPLITS = ("forget", "retain", "test")


def robustness(
    model: Asked, tables: Tables, task: Task, split: Population, rows: int, attacks: Sequence[str], seed: int
) -> dict[str, float]:
    """Accuracy under each attack on at most so many rows of forget, retain and test, "robust_<attack>_<split>".

    All splits are attacked in one go, which compiles once. The plain accuracy on the same rows is beside them, since
    a model that knows less has less to lose: "clean_<split>".
    """
    parts, places = _some_rows(tables, task, split, rows, seed)
    images = np.concatenate([np.asarray(images[:]) for images, _, _ in parts])
    labels, ids = (np.concatenate([part[which] for part in parts]) for which in (1, 2))
    numbers: dict[str, float] = {}
    for name in attacks:
        left = robust_accuracy(model.model, images, labels, ROBUSTNESS_ATTACKS[name], ids=ids)
        for where, place in zip(SPLITS, places, strict=True):
            numbers[f"clean_{where}"] = left.part(place).clean_accuracy
            numbers[f"robust_{name}_{where}"] = left.part(place).accuracy
    return numbers


def _some_rows(
    tables: Tables, task: Task, split: Population, rows: int, seed: int
) -> tuple[list[tuple[Any, np.ndarray, np.ndarray]], list[np.ndarray]]:
    """(images, labels, ids) of some rows of each split, and where each split's rows lie when they are put together."""
    train, test = tables.train, tables.test
    parts, places, start = [], [], 0
    for table, labels, chosen in (
        (train, task.labels, split.forget),
        (train, task.labels, split.retain),
        (test, test.labels, np.ones(len(test), bool)),
    ):
        order = hashed_order(table.ids.tolist(), seed, "robustness")
        some = order[chosen[order]][:rows]
        parts.append((table.take(some).images, labels[some], table.ids[some]))
        places.append(np.arange(start, start + len(some)))
        start += len(some)
    return parts, places


def spreads(model: Asked, tables: Tables, task: Task, split: Population) -> dict[str, float]:
    """The layer spread gap on retained rows, mean over the normalisation layers, by deviation and by variance."""
    some = tables.train.take(split.retain)
    try:
        found = layer_spread_gaps(model.model, some.images, task.labels[split.retain])
    except UserError:
        return {}  # a network without normalisation has none
    return {f"layer_spread_{spread}": each.mean_gap for spread, each in found.items()}
