"""What a model is after it has forgotten: accuracies, membership, distance from retraining, groups.

References:
  [1] Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran. Not all wrong is bad: using adversarial examples for unlearning.
      ICML 2025: FT AUC by RMIA, the average gap.
  [2] Goel et al. Towards adversarial evaluations for inexact machine unlearning. 2022: interclass confusion.
  [3] Triantafillou et al. The NeurIPS 2023 machine unlearning challenge's starting kit: an attack by logistic
      regression on the loss.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfpdu.audit import (
    AuditSettings,
    References,
    auc,
    audit_members,
    forget_retain_test,
    group_metrics,
    rmia_scores,
)
from tfpdu.audit.losses import cross_entropy
from tfpdu.common.seeds import hashed_order
from tfpdu.data import Records, ViewPolicy
from tfpdu.ensemble.aggregate import softmax
from tfpdu.ensemble.networks import compiled_graph, evaluate, in_batches
from tfpdu.unlearning.benchmark.corruptions import CORRUPTIONS, corrupted
from tfpdu.unlearning.benchmark.models import Tables
from tfpdu.unlearning.benchmark.scenarios import Task, class_quotas

GAMMA = 1.0  # of RMIA; with 2, as in [1], rows that all models are sure of are all alike
BINS = 20  # of the histograms of confidence
GAP = ("forget_accuracy", "retain_accuracy", "test_accuracy", "ft_auc")  # whose differences to retraining are averaged


@dataclasses.dataclass(frozen=True)
class Population:
    """Who is compared with whom after a request.

    Attributes:
      forget: bool[n] of the training rows, forgotten so far.
      retain: bool[n], neither forgotten nor to be: all others.
    """

    forget: np.ndarray
    retain: np.ndarray


class Asked:
    """A model in evaluation mode, compiled once for all that it is asked.

    Args:
      model: images [b, h, w, c] to logits [b, C].
      shape: (h, w, c).
    """

    def __init__(self, model: keras.Model, shape: tuple[int, ...]):
        self.model = model
        self._compiled = compiled_graph([tf.TensorSpec((None, *shape), tf.float32)], evaluate, model)

    def logits(self, images: Any) -> np.ndarray:
        """float32[n, C] of pictures [n, h, w, c], which are read batch by batch."""
        return in_batches(self._compiled, images)

    def probabilities(self, images: Any) -> np.ndarray:
        """float64[n, C]."""
        return softmax(self.logits(images))


@dataclasses.dataclass(frozen=True)
class Answers:
    """A model's logits on the rows of a benchmark, float32[n, C] each."""

    train: np.ndarray
    held_out: np.ndarray
    population: np.ndarray
    test: np.ndarray

    @classmethod
    def of(cls, model: Asked, tables: Tables) -> "Answers":
        """Asks a model about all rows."""
        return cls(
            **{field.name: model.logits(getattr(tables, field.name).images) for field in dataclasses.fields(cls)}
        )


def accuracies(found: Answers, tables: Tables, task: Task, split: Population) -> dict[str, float]:
    """Shares of rows whose label is given; of forgotten ones, the label that the original has learned."""
    right = found.train.argmax(1) == task.labels
    test = found.test.argmax(1) == tables.test.labels
    numbers = {
        "forget_accuracy": float(right[split.forget].mean()),
        "retain_accuracy": float(right[split.retain].mean()),
        "test_accuracy": float(test.mean()),
    }
    # A class that was forgotten is no longer to be known, so that tests without it are told apart.
    gone = ~np.isin(tables.test.labels, task.labels[split.retain])
    if gone.any():
        numbers["test_accuracy_retained_classes"] = float(test[~gone].mean())
        numbers["test_accuracy_forgotten_classes"] = float(test[gone].mean())
    return numbers


def confusion(found: Answers, tables: Tables, task: Task, split: Population) -> dict[str, float]:
    """Interclass confusion [2]: how often the two classes are taken for each other, by true labels; lower is better."""
    if task.confused is None:
        return {}
    first, second = task.confused
    numbers = {}
    for name, logits, labels in (
        ("forget", found.train[split.forget], tables.train.labels[split.forget]),
        ("test", found.test, tables.test.labels),
    ):
        either = np.isin(labels, task.confused)
        given = logits[either].argmax(1)
        numbers[f"confusion_{name}"] = float(np.mean(given == np.where(labels[either] == first, second, first)))
    return numbers


class Membership:
    """Attacks on one model, with the same reference models for all.

    Args:
      rows: that the reference models were asked about.
      references: their answers, or None to do without RMIA.
    """

    def __init__(self, rows: Records | None, references: References | None):
        self._where = {} if rows is None else {row_id: i for i, row_id in enumerate(rows.ids.tolist())}
        self._references = references

    def triple(self, found: Answers, tables: Tables, split: Population) -> dict[str, float]:
        """FT, FR and RT AUCs by RMIA [1]; forgotten rows against held-out ones of the same classes, and of all."""
        if self._references is None:
            return {}
        z = self._ratios(found.population, tables.population)
        train = rmia_scores(*self._ratios(found.train, tables.train), *z, gamma=GAMMA)
        held_out = rmia_scores(*self._ratios(found.held_out, tables.held_out), *z, gamma=GAMMA)
        like = like_classes(tables.held_out, tables.train.labels[split.forget])
        three = forget_retain_test(train[split.forget], train[split.retain], held_out[like])
        return {
            "ft_auc": three.ft.value,
            "ft_auc_ci_low": three.ft.ci_low,
            "ft_auc_ci_high": three.ft.ci_high,
            "fr_auc": three.fr.value,
            "rt_auc": auc(train[split.retain], held_out).value,
            "ft_auc_all_classes": auc(train[split.forget], held_out).value,
        }

    def _ratios(self, logits: np.ndarray, rows: Records) -> tuple[np.ndarray, np.ndarray]:
        """What RMIA takes: the model's probability of the class, [n], and the references', [n, R]."""
        assert self._references is not None
        places = np.array([self._where[row_id] for row_id in rows.ids.tolist()])
        own = softmax(logits)[np.arange(len(rows)), rows.labels]
        return np.maximum(own, np.finfo(float).tiny), self._references.probabilities[places]


def like_classes(rows: Records, labels: np.ndarray) -> np.ndarray:
    """Row numbers whose classes have the shares that they have in `labels`, as many as there can be; all if none fit.

    Non-members of other classes than the forgotten rows' would tell classes apart, and not members.
    """
    quota = class_quotas(rows.labels, labels, len(rows))
    if not quota.any():
        return np.arange(len(rows))
    order = hashed_order(rows.ids.tolist(), "like classes")
    return np.sort(np.concatenate([order[rows.labels[order] == c][: quota[c]] for c in np.flatnonzero(quota)]))


def loss_attack(found: Answers, tables: Tables, split: Population, seed: int) -> dict[str, float]:
    """The starting kit's attack [3] against held-out rows of the same classes, and of all.

    Logistic regression on the loss, accuracy on the tenth left out, as many rows on either side. Where one class is
    forgotten, rows of all classes on the other side tell the class and not membership: the CS726 study has 0.99 so,
    and 0.46 with the same class.
    """
    forget = cross_entropy(softmax(found.train[split.forget]), tables.train.labels[split.forget])
    held_out = cross_entropy(softmax(found.held_out), tables.held_out.labels)
    like = like_classes(tables.held_out, tables.train.labels[split.forget])
    return {
        "loss_attack_same_classes": _cross_validated(forget, held_out[like], seed),
        "loss_attack_all_classes": _cross_validated(forget, held_out, seed),
    }


def _cross_validated(members: np.ndarray, others: np.ndarray, seed: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score

    count = min(len(members), len(others))
    if count < 10:
        return float("nan")
    draw = np.random.default_rng(seed)
    sides = [draw.permutation(side)[:count] for side in (members, others)]
    known = np.repeat([1, 0], count)
    folds = StratifiedShuffleSplit(n_splits=10, random_state=seed % 2**31)
    return float(cross_val_score(LogisticRegression(), np.concatenate(sides)[:, None], known, cv=folds).mean())


def views_attacks(
    model: Asked, tables: Tables, split: Population, views: ViewPolicy, seed: int, rows: int
) -> dict[str, float]:
    """M-Loss and Moments on forgotten rows, with calibration and evaluation apart, against the same classes."""
    settings = AuditSettings(rows=rows, attacks=("m_loss", "moments"))
    found = audit_members(
        model.probabilities,
        {"forgotten": tables.train.take(split.forget)},
        tables.population,
        tables.held_out,
        policy=views,
        seed=seed,
        settings=settings,
        note=lambda line: None,
    )
    keys = ("success_rate", "ci_low", "ci_high", "auc")
    return {f"{row['attack']}_{key}": float(row[key]) for row in found for key in keys}


def distance(found: Answers, reference: Answers, split: Population) -> dict[str, float]:
    """From the retrained model's answers: share of equal classes, and mean total variation, in [0, 1]."""
    numbers = {}
    for name, own, other in (
        ("forget", found.train[split.forget], reference.train[split.forget]),
        ("test", found.test, reference.test),
    ):
        numbers[f"agreement_{name}"] = float(np.mean(own.argmax(1) == other.argmax(1)))
        numbers[f"distance_{name}"] = float(0.5 * np.abs(softmax(own) - softmax(other)).sum(1).mean())
    return numbers


def histograms(found: Answers, tables: Tables, task: Task, split: Population) -> dict[str, list[float]]:
    """Shares of rows by confidence, the probability of the class given, in `BINS` bins over [0, 1]: AMUN's figure."""
    parts = {
        "forget": found.train[split.forget],
        "retain": found.train[split.retain],
        "test": found.test,
    }
    return {
        name: (np.histogram(softmax(logits).max(1), BINS, (0, 1))[0] / max(1, len(logits))).tolist()
        for name, logits in parts.items()
    }


def groups(found: Answers, tables: Tables) -> dict[str, float]:
    """Group fairness on the test rows, one number a measure and attribute."""
    numbers = {}
    for spec in tables.test.specs:
        values = [spec.values[code] if code >= 0 else None for code in tables.test.column(spec.name).tolist()]
        for row in group_metrics(tables.test.labels, found.test.argmax(1), {spec.name: values}):
            if row["metric"] in ("worst_group_accuracy", "equalized_odds") and row["value"] is not None:
                numbers[f"{row['metric']}_{spec.name}"] = float(row["value"])
    return numbers


def shifted(model: Asked, tables: Tables, rows: int, seed: int) -> dict[str, float]:
    """Accuracy on corrupted test pictures, the mean over `CORRUPTIONS`."""
    order = hashed_order(tables.test.ids.tolist(), seed, "shift")[:rows]
    test = tables.test.take(order)
    right = [
        model.logits(corrupted(np.asarray(test.images[:]), name, seed)).argmax(1) == test.labels for name in CORRUPTIONS
    ]
    return {"test_accuracy_corrupted": float(np.mean(right))}


def gap(numbers: Mapping[str, float], reference: Mapping[str, float]) -> dict[str, float]:
    """The mean distance to the retrained model over `GAP`, in points [1]; what a task has not is left out."""
    differences = {
        name: 100 * abs(numbers[name] - reference[name]) for name in GAP if name in numbers and name in reference
    }
    return {
        "average_gap": float(np.mean(list(differences.values()))),
        **{f"gap_{k}": v for k, v in differences.items()},
    }


def as_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON-ready, NaN left out."""
    return {k: v for k, v in values.items() if not (isinstance(v, float) and np.isnan(v))}
