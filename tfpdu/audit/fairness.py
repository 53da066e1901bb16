"""Group fairness of a model: rates, gaps and calibration of groups, rows of `fairness.json`.

Three things are called fairness. This is *group fairness*, what a model does to groups of people. It is neither *data
bias*, the distance of a data set from a prior, nor the *layer spread gap* of a network; and balancing P(attribute) in
the data, as Algorithm 1 does, guarantees none of these measures.

Each value that can be estimated is fairlearn's. A rate of a group without anybody to count (TPR without positives, FPR
without negatives) is None, where fairlearn says 0. How the intervals are made: `rates`, `extremes`, `calibration`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit.calibration import calibration_error
from tfpdu.audit.gaps import Estimate, average, gap, ratio, worst
from tfpdu.audit.predictions import Attribute, Predictions, predictions_of, predictions_on
from tfpdu.audit.rates import RATES, Rate, accuracy_rate, group_rates, names_of_cells
from tfpdu.audit.signals import Predict
from tfpdu.common.errors import UserError
from tfpdu.common.intervals import between_0_and_1
from tfpdu.data.records import Records

ALL = "all"  # the group of a row that is about all groups of its attribute
CELLS = "label x "  # before the attribute's name, for cells of class and group
OF_A_GROUP = ("accuracy", "calibration", *RATES)  # metrics of one group; the others are over all of them
Row = dict[str, Any]


def group_metrics(
    y_true: Sequence[Any] | np.ndarray,
    y_pred: Sequence[Any] | np.ndarray,
    groups: Any,
    *,
    scores: Sequence[float] | np.ndarray | None = None,
    subjects: Sequence[Any] | np.ndarray | None = None,
    positive: Any = None,
    confidence: float = 0.95,
) -> list[Row]:
    """All measures of predictions of any framework.

    Args:
      y_true: n true classes of any kind (text, whole numbers), at least two different ones.
      y_pred: n predicted classes, each of them a true class of some row.
      groups: n values of one sensitive attribute, or a mapping (a DataFrame) from names to such columns. None, NaN
        and the number -1 are unknown.
      scores: n probabilities in [0, 1], each given to the class that was predicted, for calibration.
      subjects: the person of each row, where a person has more than one; "" is a person of their own.
      positive: which of two classes is the positive one; default the second in order.
      confidence: of the intervals.

    Returns:
      The rows of `measures`.

    Raises:
      UserError: lengths differ, or a value is not as above.

    >>> rows = group_metrics([0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 0], ["a", "a", "a", "b", "b", "b"])
    >>> {row["group"]: row["value"] for row in rows if row["metric"] == "tpr"}
    {'a': 1.0, 'b': 0.5}
    """
    return measures(predictions_of(y_true, y_pred, groups, scores, subjects, positive), confidence)


def fairness_rows(
    model: Predict | np.ndarray, records: Records, iteration: int, stage: str, confidence: float = 0.95
) -> list[Row]:
    """The rows of `fairness.json` of one moment of a run: of `measures`, with `iteration` and `stage` before them.

    Args:
      model: the model, or its probabilities [n, C] on the records, in their order.
      records: the rows to measure on, at least one.
      iteration: copied into the rows.
      stage: "before", "after" (Algorithm 1), "iteration", or "round <n>" (of deletion).
      confidence: of the intervals.
    """
    head = {"iteration": iteration, "stage": stage}
    return [head | row for row in measures(predictions_on(model, records), confidence)]


def accuracy_by_group(
    model: Predict | np.ndarray, records: Records, iteration: int, stage: str, confidence: float = 0.95
) -> list[Row]:
    """The rows of `fairness_rows` with the accuracy of each class and of each value of each attribute alone."""
    predictions = predictions_on(model, records).in_order()
    tail = (1 - between_0_and_1(confidence)) / 2
    rows: list[Row] = []
    for attribute in (Attribute("label", predictions.classes, predictions.labels), *predictions.attributes):
        known, codes = predictions.known(attribute)
        rows += _accuracies(known, dataclasses.replace(attribute, codes=codes), tail)
    return [{"iteration": iteration, "stage": stage, **row} for row in rows]


def measures(predictions: Predictions, confidence: float = 0.95) -> list[Row]:
    """Every measure of every group, and of every attribute over its groups.

    Args:
      predictions: n rows.
      confidence: of the intervals.

    Returns:
      Dicts of attribute, group, metric, value, ci_low, ci_high, n, n_pos, n_neg, in a fixed order:
      attribute "label": `accuracy` of each class;
      each attribute, and all together as "a x b": `accuracy`, `calibration` (with probabilities), and of two classes
        `selection_rate`, `tpr`, `fpr` of each group; then, of the group "all", `MEASURES`, with several classes also
        the first four's means over them ("..._mean"), and `unknown`, the share of rows left out because the value is
        not known (n of them);
      "label x a": `accuracy` of each cell, with several classes `selection_rate`, `tpr` and `fpr` of the class against
        the rest in the group, and of "all" the worst and average accuracies of the cells.
      A value that is not estimable is None, as are its ends; the counts are there. n_pos + n_neg = n: rows of the
      positive class and others. In rows about no single class, with more than two, every row counts as positive.
    """
    tail = (1 - between_0_and_1(confidence)) / 2
    if not len(predictions.labels):
        raise UserError("predictions: no rows")
    predictions = predictions.in_order()
    rows = list(_accuracies(predictions, Attribute("label", predictions.classes, predictions.labels), tail))
    together = predictions.together
    for attribute in (*predictions.attributes, *([together] if together else [])):
        rows += _of_attribute(predictions, attribute, tail)
    return rows


def of_groups(rows: Sequence[Row]) -> list[Row]:
    """The rows that tell most: accuracy of classes and groups, and the measures over all groups; no cells."""
    whole = [row for row in rows if not row["attribute"].startswith(CELLS)]
    return [row for row in whole if row["metric"] not in OF_A_GROUP or row["metric"] == "accuracy"]


def numbers(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """What a gate may name: measure.end over all attributes, attribute.measure.end, and attribute.group.measure.end.

    The end is value, ci_low or ci_high. Measures over all groups have no group in their names; those of one group have
    no name without one, and rows that count the unknown have none.
    """
    found: dict[str, list[float | None]] = {}
    for row in rows:
        attribute, group, metric = row["attribute"], row["group"], row["metric"]
        for end in ("value", "ci_low", "ci_high") if metric != "unknown" else ():
            if metric in OF_A_GROUP:
                found[f"{attribute}.{group}.{metric}.{end}"] = [row[end]]
                continue
            found[f"{attribute}.{metric}.{end}"] = [row[end]]
            if not attribute.startswith(CELLS):
                found.setdefault(f"{metric}.{end}", []).append(row[end])
    return found


def _of_attribute(predictions: Predictions, attribute: Attribute, tail: float) -> list[Row]:
    known, codes = predictions.known(attribute)
    groups, classes = len(attribute.values), len(predictions.classes)
    accuracy = accuracy_rate(known, codes, groups)
    rows = list(_accuracies(known, dataclasses.replace(attribute, codes=codes), tail, accuracy))
    if known.confidence is not None:
        rows += [_calibration(known.take(codes == g), attribute.name, attribute.values[g], tail) for g in range(groups)]
    rates = group_rates(known, codes, groups) if len(codes) else {}
    if classes == 2:
        rows += _rate_rows(rates, attribute.name, attribute.values, tail)
    rows += _over_groups(known, attribute.name, rates, accuracy, tail)
    unknown = predictions.take(attribute.codes < 0)
    share = len(unknown.labels) / len(predictions.labels)
    rows.append(_row(attribute.name, ALL, "unknown", Estimate(share), _counts(unknown)))
    cells = Attribute(
        CELLS + attribute.name,
        names_of_cells(predictions.classes, attribute.values),
        known.labels * groups + codes,
    )
    accuracy = accuracy_rate(known, cells.codes, classes * groups)
    rows += _accuracies(known, cells, tail, accuracy)
    if classes > 2:
        rows += _rate_rows(rates, cells.name, cells.values, tail)
    return rows + _accuracies_over_groups(known, cells.name, accuracy, tail)


def _accuracies(predictions: Predictions, attribute: Attribute, tail: float, rate: Rate | None = None) -> Iterator[Row]:
    """A row a group; of two classes the positives are counted, of more every row is one."""
    rate = rate or accuracy_rate(predictions, attribute.codes, len(attribute.values))
    low, high = rate.ends(tail)
    for g, group in enumerate(attribute.values):
        counts = _counts(predictions.take(attribute.codes == g))
        yield _row(attribute.name, group, "accuracy", _estimate(rate.value[0, g], low[0, g], high[0, g]), counts)


def _rate_rows(rates: Mapping[str, Rate], attribute: str, names: Sequence[str], tail: float) -> list[Row]:
    """A row for each rate of each group, or of each class in each group, in the order of `names`."""
    ends = {metric: rate.ends(tail) for metric, rate in rates.items()}
    rows = []
    for place, name in enumerate(names):
        for metric in RATES if rates else ():
            at = np.unravel_index(place, rates[metric].value.shape)
            n, n_pos = (int(rates[rate].trials[at]) for rate in ("selection_rate", "tpr"))
            low, high = ends[metric]
            rows.append(
                _row(attribute, name, metric, _estimate(rates[metric].value[at], low[at], high[at]), (n, n_pos))
            )
    return rows


def _over_groups(
    predictions: Predictions, attribute: str, rates: Mapping[str, Rate], accuracy: Rate, tail: float
) -> list[Row]:
    nothing = Estimate(), Estimate()
    pairs = {
        "demographic_parity": gap([rates["selection_rate"]], tail) if rates else nothing,
        "demographic_parity_ratio": ratio(rates["selection_rate"], tail) if rates else nothing,
        "equal_opportunity": gap([rates["tpr"]], tail) if rates else nothing,
        "equalized_odds": gap([rates["tpr"], rates["fpr"]], tail) if rates else nothing,
    }
    counts = _counts(predictions)
    rows = [_row(attribute, ALL, name, of_worst, counts) for name, (of_worst, _) in pairs.items()]
    if len(predictions.classes) > 2:
        rows += [_row(attribute, ALL, f"{name}_mean", mean, counts) for name, (_, mean) in pairs.items()]
    return rows + _accuracies_over_groups(predictions, attribute, accuracy, tail)


def _accuracies_over_groups(predictions: Predictions, attribute: str, accuracy: Rate, tail: float) -> list[Row]:
    counts = _counts(predictions)
    overall = Estimate()
    if counts[0]:
        rate = accuracy_rate(predictions, np.zeros(counts[0], np.int64), 1)
        low, high = rate.ends(tail)
        overall = _estimate(rate.value[0, 0], low[0, 0], high[0, 0])
    found = {
        "worst_group_accuracy": worst(accuracy, tail),
        "average_accuracy": overall,
        "adjusted_accuracy": average(accuracy, tail),
    }
    return [_row(attribute, ALL, name, estimate, counts) for name, estimate in found.items()]


def _calibration(group: Predictions, attribute: str, name: str, tail: float) -> Row:
    estimate = Estimate(*calibration_error(group, tail)) if len(group.labels) else Estimate()
    return _row(attribute, name, "calibration", estimate, _counts(group))


def _counts(predictions: Predictions) -> tuple[int, int]:
    n = len(predictions.labels)
    return n, int((predictions.labels == 1).sum()) if len(predictions.classes) == 2 else n


def _estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate() if np.isnan(value) else Estimate(float(value), float(low), float(high))


def _row(attribute: str, group: str, metric: str, estimate: Estimate, counts: tuple[int, int]) -> Row:
    n, n_pos = counts
    ends = {"value": estimate.value, "ci_low": estimate.low, "ci_high": estimate.high}
    head = {"attribute": attribute, "group": group, "metric": metric}
    return {**head, **ends, "n": n, "n_pos": n_pos, "n_neg": n - n_pos}
