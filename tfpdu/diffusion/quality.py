"""Is the generator good enough to replace originals? Train on its samples, test on real images.

Reference: Ravuri & Vinyals (2019), "Classification accuracy score for conditional generative models".
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import in_range
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records

Predict = Callable[[np.ndarray], np.ndarray]  # uint8[m,h,w,c] -> probabilities float64[m,C]
TrainClassifier = Callable[[Records, int], Predict]
Generate = Callable[[np.ndarray, np.ndarray, Sequence[str]], np.ndarray]  # labels, attributes, keys -> uint8[m,h,w,c]
Judge = Callable[[np.ndarray], np.ndarray]  # uint8[m,h,w,c] -> int8[m,j], -1 where an attribute is not judged


def synthetic_twin(real: Records, generate: Generate) -> Records:
    """As many synthetic rows as there are real ones, with the same labels and attributes."""
    ids = np.array([f"gate/{row_id}" for row_id in real.ids.tolist()])
    images = generate(real.labels, real.attributes, ids.tolist())
    origin = np.ones(len(real), np.int8)
    return dataclasses.replace(
        real, images=images, ids=ids, origin=origin, subjects=None, generator=None, realised=None
    )


def classification_accuracy_score(
    synthetic: Records, real_train: Records, real_test: Records, train_classifier: TrainClassifier, seed: int
) -> dict[str, float]:
    """Accuracy on real test images of a classifier trained on synthetic rows, beside one trained on real rows.

    Args:
      synthetic, real_train: the two training sets, best of the same size.
      real_test: rows that neither the generator nor a classifier was trained on.
      train_classifier: (records, seed) -> predict; the same recipe serves both sets.
      seed: handed to it.

    Returns:
      cas, cas_real: accuracies in [0, 1]; cas_ratio = cas / cas_real.

    Raises:
      UserError: a set is empty, or the classifier trained on real rows gets nothing right.
    """
    for name, table in (("synthetic", synthetic), ("training", real_train), ("test", real_test)):
        if not len(table):
            raise UserError(f"quality gate: the {name} set has no rows")
    cas, cas_real = (_accuracy(train_classifier(table, seed), real_test) for table in (synthetic, real_train))
    if cas_real == 0:
        raise UserError(
            "quality gate: the classifier trained on real rows gets no test image right; nothing to compare with"
        )
    return {"cas": cas, "cas_real": cas_real, "cas_ratio": cas / cas_real}


def realised_attributes(
    requested: np.ndarray, judged: np.ndarray, specs: Sequence[AttributeSpec]
) -> dict[str, dict[str, float]]:
    """How often a requested attribute value is seen by an independent judge.

    Args:
      requested: int[m, j], -1 where any value would do; judged: int[m, j], -1 where the judge is silent.
      specs: one per column.

    Returns:
      {attribute: {value: share of the samples asked for that value in which the judge sees it}}; a value that was never
      both asked for and judged is left out, and so is an attribute without values.
    """
    if requested.shape != judged.shape or requested.shape[1] != len(specs):
        raise UserError(
            f"realised attributes: requested {list(requested.shape)}, judged {list(judged.shape)}, "
            f"{len(specs)} attributes"
        )
    shares: dict[str, dict[str, float]] = {}
    for j, spec in enumerate(specs):
        counted = (requested[:, j] != UNKNOWN) & (judged[:, j] != UNKNOWN)
        for code, value in enumerate(spec.values):
            asked = counted & (requested[:, j] == code)
            if asked.any():
                shares.setdefault(spec.name, {})[value] = float(np.mean(judged[asked, j] == code))
    return shares


def measure_quality(
    synthetic: Records,
    real_train: Records,
    real_test: Records,
    train_classifier: TrainClassifier,
    *,
    floor: float,
    seed: int,
    judge: Judge | None = None,
) -> dict[str, Any]:
    """Scores samples: the accuracy that they teach, and the attributes that a judge sees in them.

    Args:
      synthetic: best a `synthetic_twin` of `real_train`.
      floor: least acceptable cas_ratio, in [0, 1].
      judge: an attribute classifier that never saw the generator; None leaves `realised` empty.
      The others as in `classification_accuracy_score`.

    Returns:
      {cas, cas_real, cas_ratio, chance, floor, passed, realised}; chance is the share of the largest class in
      `real_test`: where even real rows teach no more than that, no generator passes, for the ratio says nothing.
    """
    in_range(0, 1, floor=floor)
    score = classification_accuracy_score(synthetic, real_train, real_test, train_classifier, seed)
    chance = float(np.bincount(real_test.labels).max() / len(real_test))
    passed = score["cas_ratio"] >= floor and score["cas_real"] > chance
    realised = realised_attributes(synthetic.attributes, judge(synthetic.images), synthetic.specs) if judge else {}
    return {**score, "chance": chance, "floor": floor, "passed": passed, "realised": realised}


def require_quality(measured: dict[str, Any]) -> None:
    """Raises `UserError` when a result of `measure_quality` did not pass, saying what to do instead."""
    if measured["passed"]:
        return
    if measured["cas_real"] <= measured["chance"]:
        raise UserError(
            f"quality gate: real rows themselves teach a classifier no more than chance ({measured['cas_real']:.2f} of "
            "the test images), so nothing can be said of samples; raise --config.generator.gate_rows or "
            "--config.judge.epochs, or set --config.generator.floor=0"
        )
    raise UserError(
        f"generator: its samples reach only {measured['cas_ratio']:.2f} of real data's accuracy (floor "
        f"{measured['floor']:.2f}), too poor to replace originals; raise --config.generator.images or lower "
        "--config.generator.floor or use --config.augment.method=oversample"
    )


def _accuracy(predict: Predict, records: Records) -> float:
    return float(np.mean(predict(records.images).argmax(axis=1) == records.labels))
