"""Accuracy by class and by attribute value."""

import numpy as np
import pytest

from tfpdu.audit import accuracy, accuracy_by_group, clopper_pearson
from tfpdu.common import UserError
from tfpdu.data.records import AttributeSpec, Records

KEYS = ["iteration", "stage", "attribute", "group", "metric", "value", "ci_low", "ci_high", "n", "n_pos", "n_neg"]


def _records(labels, tints, label_names):
    n = len(labels)
    return Records(
        images=np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8),
        labels=np.array(labels, np.int32),
        attributes=np.array(tints, np.int8)[:, None],
        ids=np.array([f"r{i}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tint", ("dark", "light", "unseen")),),
        label_names=label_names,
    )


RECORDS = _records([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, -1], ("no", "yes"))
ANSWERS = np.array([0, 0, 1, 1, 1, 0])  # rows 2 and 5 wrong
TABLE = np.eye(2)[ANSWERS] * 0.8 + 0.1


def test_groups_by_hand():
    rows = accuracy_by_group(TABLE, RECORDS, 3, "iteration")
    assert all(list(row) == KEYS for row in rows)
    assert {(row["iteration"], row["stage"], row["metric"]) for row in rows} == {(3, "iteration", "accuracy")}
    seen = {(r["attribute"], r["group"]): (r["value"], r["n"], r["n_pos"], r["n_neg"]) for r in rows}
    assert seen == {
        ("label", "no"): (2 / 3, 3, 0, 3),
        ("label", "yes"): (2 / 3, 3, 3, 0),
        ("tint", "dark"): (1.0, 2, 0, 2),
        ("tint", "light"): (2 / 3, 3, 2, 1),  # the row of unknown tint is in no group
        ("tint", "unseen"): (None, 0, 0, 0),
    }
    light = next(row for row in rows if row["group"] == "light")
    assert (light["ci_low"], light["ci_high"]) == clopper_pearson(2, 3)
    unseen = next(row for row in rows if row["group"] == "unseen")
    assert unseen["ci_low"] is unseen["ci_high"] is None


def test_with_several_classes_every_row_is_a_positive_of_its_own_class():
    records = _records([0, 1, 2, 2], [0, 0, 0, 0], ("a", "b", "c"))
    rows = accuracy_by_group(np.eye(3)[[0, 1, 2, 0]], records, 0, "before")
    assert [(r["n"], r["n_pos"], r["n_neg"]) for r in rows[:4]] == [(1, 1, 0), (1, 1, 0), (2, 2, 0), (4, 4, 0)]


def test_a_model_and_its_probabilities_give_the_same():
    def model(images):
        return TABLE[images[:, 0, 0, 0]]

    assert accuracy_by_group(model, RECORDS, 0, "after") == accuracy_by_group(TABLE, RECORDS, 0, "after")
    assert accuracy(model, RECORDS) == accuracy(TABLE, RECORDS)


def test_overall():
    result = accuracy(TABLE, RECORDS)
    assert (result.value, result.n) == (4 / 6, 6)
    assert (result.ci_low, result.ci_high) == clopper_pearson(4, 6)


def test_bad_tables_are_refused():
    with pytest.raises(UserError, match=r"expected \[6, 2\], got \[5, 2\]"):
        accuracy(TABLE[:5], RECORDS)
    with pytest.raises(UserError, match="row 1"):
        accuracy(np.where(np.arange(6)[:, None] == 1, np.nan, TABLE), RECORDS)
    with pytest.raises(UserError, match="no rows"):
        accuracy(TABLE[:0], RECORDS.take(np.arange(0)))
