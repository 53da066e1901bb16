"""Group fairness: fairlearn's numbers where they can be estimated, and the traps where they cannot."""

import numpy as np
import pandas as pd
import pytest
from fairlearn import metrics as fairlearn
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.audit import populations
from tfpdu.audit import accuracy_by_group, clopper_pearson, fairness_rows, group_metrics
from tfpdu.audit.fairness import of_groups
from tfpdu.audit.rates import group_rates
from tfpdu.common import UserError
from tfpdu.data.records import AttributeSpec, Records

KEYS = ["attribute", "group", "metric", "value", "ci_low", "ci_high", "n", "n_pos", "n_neg"]
RATES = {
    "selection_rate": fairlearn.selection_rate,
    "tpr": fairlearn.true_positive_rate,
    "fpr": fairlearn.false_positive_rate,
}


def by_key(rows, column="value"):
    return {(row["attribute"], row["group"], row["metric"]): row[column] for row in rows}


def of_all(rows, attribute="group"):
    return {row["metric"]: row for row in rows if row["attribute"] == attribute and row["group"] == "all"}


@st.composite
def tables(draw, classes=2):
    n = draw(st.integers(2, 60))
    column = lambda most: st.lists(st.integers(0, most), min_size=n, max_size=n)  # noqa: E731
    labels = draw(column(classes - 1).filter(lambda values: len(set(values)) == classes))
    groups = draw(column(3))
    return np.array(labels), np.array(draw(column(classes - 1))), np.array([f"g{g}" for g in groups])


def _fairlearn(labels, predicted, groups):
    frame = fairlearn.MetricFrame(metrics=RATES, y_true=labels, y_pred=predicted, sensitive_features=groups).by_group
    positives = pd.Series(labels).groupby(groups).sum()
    rows = pd.Series(labels).groupby(groups).size()
    frame.loc[positives == 0, "tpr"] = np.nan
    frame.loc[positives == rows, "fpr"] = np.nan
    return frame


def _spread(column):
    return column.max() - column.min() if column.count() > 1 else None


@settings(max_examples=40, deadline=None)
@given(tables())
def test_every_estimable_value_of_two_classes_is_fairlearns(table):
    rows = group_metrics(*table)
    found, frame = by_key(rows), _fairlearn(*table)
    for group in frame.index:
        for name in RATES:
            expected = frame.loc[group, name]
            assert found["group", group, name] == (None if np.isnan(expected) else pytest.approx(expected, abs=1e-9))
    gaps = {name: _spread(frame[name]) for name in RATES}
    odds = None if None in (gaps["tpr"], gaps["fpr"]) else max(gaps["tpr"], gaps["fpr"])
    expected = {"demographic_parity": gaps["selection_rate"], "equal_opportunity": gaps["tpr"], "equalized_odds": odds}
    for name, value in expected.items():
        assert found["group", "all", name] == (None if value is None else pytest.approx(value, abs=1e-9)), name


@settings(max_examples=25, deadline=None)
@given(tables())
def test_where_all_is_estimable_the_gaps_are_fairlearns_own_functions(table):
    labels, predicted, groups = table
    found = by_key(group_metrics(*table))
    frame = _fairlearn(*table)
    if len(frame) < 2 or frame.isna().any(axis=None):
        return
    own = {"sensitive_features": groups}
    expected = {
        "demographic_parity": fairlearn.demographic_parity_difference(labels, predicted, **own),
        "demographic_parity_ratio": fairlearn.demographic_parity_ratio(labels, predicted, **own),
        "equalized_odds": fairlearn.equalized_odds_difference(labels, predicted, **own),
    }
    for name, value in expected.items():
        assert found["group", "all", name] == (None if np.isnan(value) else pytest.approx(value, abs=1e-9)), name


@settings(max_examples=20, deadline=None)
@given(tables(classes=3))
def test_several_classes_are_one_versus_rest_with_max_and_mean(table):
    labels, predicted, groups = table
    found, frames = by_key(group_metrics(*table)), [_fairlearn(labels == k, predicted == k, groups) for k in range(3)]
    for k, frame in enumerate(frames):
        for group in frame.index:
            for name in RATES:
                value = found["label x group", f"{k}, {group}", name]
                expected = frame.loc[group, name]
                assert value == (None if np.isnan(expected) else pytest.approx(expected, abs=1e-9))
    gaps = [gap for gap in (_spread(frame["tpr"]) for frame in frames) if gap is not None]
    opportunity, mean = (found["group", "all", f"equal_opportunity{end}"] for end in ("", "_mean"))
    assert opportunity == (pytest.approx(max(gaps), abs=1e-9) if gaps else None)
    assert mean == (pytest.approx(np.mean(gaps), abs=1e-9) if gaps else None)


@settings(max_examples=30, deadline=None)
@given(tables(), st.booleans())
def test_every_interval_holds_its_value_and_lies_in_0_to_1(table, with_subjects):
    subjects = [str(i // 3) for i in range(len(table[0]))] if with_subjects else None
    for row in group_metrics(*table, scores=np.full(len(table[0]), 0.8), subjects=subjects):
        assert list(row) == KEYS
        assert row["n_pos"] + row["n_neg"] == row["n"]
        if row["value"] is None:
            assert row["ci_low"] is row["ci_high"] is None
        elif row["metric"] != "unknown":
            assert 0 <= row["ci_low"] <= row["value"] <= row["ci_high"] <= 1, row


def test_a_group_without_positives_is_not_estimable_and_takes_no_part():
    labels, predicted = [1, 1, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 1, 0]
    groups = ["a", "a", "a", "b", "b", "c", "c", "c"]
    rows = group_metrics(labels, predicted, groups)
    own = {"y_true": labels, "y_pred": predicted, "sensitive_features": groups}
    assert fairlearn.MetricFrame(metrics=RATES, **own).by_group.loc["c", "tpr"] == 0  # the trap: it looks measured
    row = next(row for row in rows if (row["group"], row["metric"]) == ("c", "tpr"))
    assert (row["value"], row["ci_low"], row["ci_high"]) == (None, None, None)
    assert (row["n"], row["n_pos"], row["n_neg"]) == (3, 0, 3)
    assert of_all(rows)["equal_opportunity"]["value"] == 0.5  # a against b; with the 0 it would be 1
    assert fairlearn.MetricFrame(metrics=RATES, **own).difference()["tpr"] == 1


def test_two_groups_of_which_one_has_no_positives_leave_nothing_to_compare():
    found = of_all(group_metrics([1, 1, 0, 0], [1, 0, 0, 0], ["a", "a", "a", "b"]))
    assert [found[name]["value"] for name in ("equal_opportunity", "equalized_odds")] == [None, None]
    assert found["demographic_parity"]["value"] == pytest.approx(1 / 3)


def test_a_ratio_of_nothing_selected_to_nothing_selected_is_not_estimable():
    found = of_all(group_metrics([1, 0, 1, 0], [0, 0, 0, 0], list("aabb")))
    assert found["demographic_parity_ratio"]["value"] is None
    assert found["demographic_parity"]["value"] == 0
    assert found["demographic_parity"]["ci_high"] > 0.5  # of four rows


def test_unknown_values_are_left_out_and_counted():
    rows = group_metrics([1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1], [0, 0, 1, 1, -1, -1])
    unknown = of_all(rows)["unknown"]
    assert (unknown["value"], unknown["n"], unknown["n_pos"]) == (pytest.approx(1 / 3), 2, 1)
    assert {row["group"] for row in rows if row["attribute"] == "group"} == {"0", "1", "all"}
    known = group_metrics([1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 1, 1])
    without = [row for row in rows if row["metric"] != "unknown" and row["attribute"] != "label"]
    assert without == [row for row in known if row["metric"] != "unknown" and row["attribute"] != "label"]
    for missing in (None, float("nan"), np.nan):
        again = group_metrics([1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1], ["0", "0", "1", "1", missing, missing])
        assert again == rows


def test_two_people_prove_no_gap():
    """Both positives of one group are missed: the gap is large, and nobody can say so for sure."""
    labels, predicted = [1] * 1000 + [0] * 1000 + [1, 1, 0, 0], [1] * 900 + [0] * 1102 + [0, 0]
    found = of_all(group_metrics(labels, predicted, ["many"] * 2000 + ["few"] * 4))
    assert found["equal_opportunity"]["value"] == 0.9
    assert found["equal_opportunity"]["ci_low"] < 0.1


def test_equal_groups_have_an_interval_that_reaches_zero():
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 400)
    found = of_all(group_metrics(labels, labels ^ (rng.random(400) < 0.3), rng.integers(0, 4, 400)))
    assert found["equalized_odds"]["value"] > 0.02  # the largest of noisy gaps
    assert found["equalized_odds"]["ci_low"] == 0


def test_rows_of_one_person_are_no_independent_evidence():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(0, 2, 40), 10)
    predicted = np.where(np.repeat(rng.random(40) < 0.7, 10), labels, 1 - labels)  # a person is always or never right
    groups, people = np.repeat(["a", "b"], 200), np.repeat(np.arange(40), 10)

    def ends(*columns, **more):
        rows = group_metrics(*columns, **more)
        return [by_key(rows, end)["group", "a", "accuracy"] for end in ("ci_low", "ci_high")]

    of_people = ends(labels[::10], predicted[::10], groups[::10])  # each person has one row
    assert ends(labels, predicted, groups, subjects=people) == pytest.approx(of_people, abs=0.03)
    assert np.ptp(ends(labels, predicted, groups)) < np.ptp(of_people) / 2.5
    assert ends(labels, predicted, groups, subjects=[""] * 400) == ends(labels, predicted, groups)  # nobody is known


def test_a_group_of_one_person_says_nothing_of_others():
    rows = group_metrics([1, 0] * 10, [1, 0] * 9 + [0, 0], ["a"] * 10 + ["b"] * 10, subjects=["x"] * 10 + ["y"] * 10)
    assert of_all(rows)["equalized_odds"]["ci_low"] == 0
    assert by_key(rows, "ci_low")["group", "a", "accuracy"] == pytest.approx(0.025)


def test_the_variance_of_people_is_what_a_bootstrap_of_people_tends_to():
    rng = np.random.default_rng(1)
    sample = populations.PEOPLE.sample(rng).in_order()
    codes = sample.attributes[0].codes
    rate = group_rates(sample, codes, 2)["tpr"]
    exact = np.sqrt((rate.influence(0) ** 2).sum(0))
    people = np.unique(sample.subjects)
    group = np.array([codes[sample.subjects == p][0] for p in people])
    hits = np.array([((sample.subjects == p) & (sample.labels == 1) & (sample.predicted == 1)).sum() for p in people])
    trials = np.array([((sample.subjects == p) & (sample.labels == 1)).sum() for p in people])
    for g in range(2):
        mine = np.flatnonzero(group == g)
        drawn = mine[rng.integers(0, len(mine), (20000, len(mine)))]
        bootstrap = hits[drawn].sum(1) / trials[drawn].sum(1)
        assert exact[g] == pytest.approx(bootstrap.std(), rel=0.05)


def test_calibration_by_hand_and_its_interval_at_the_edges():
    labels, predicted = [1, 1, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1]
    scores = [0.95, 0.95, 0.65, 0.65, 0.61, 1.0]
    rows = by_key(group_metrics(labels, predicted, ["a"] * 6, scores=scores))
    # bin 0.9-1: 2 right of 3 against 2.9; bin 0.6-0.7: 2 right of 3 against 1.91
    assert rows["group", "a", "calibration"] == pytest.approx((0.9 + 0.09) / 6)
    sure = group_metrics([0, 1] * 3, [0, 1] * 3, ["a"] * 6, scores=[1.0] * 6)
    assert by_key(sure)["group", "a", "calibration"] == 0
    assert by_key(sure, "ci_high")["group", "a", "calibration"] > 0.2  # six right answers are no proof
    alone = group_metrics([0, 1], [0, 1], ["a", "b"], scores=[0.9, 0.9])
    assert by_key(alone, "ci_high")["group", "a", "calibration"] == 1


def test_accuracies_of_the_groups():
    rows = group_metrics([1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 0, 0], list("aaaabb"))
    found = of_all(rows)
    assert found["worst_group_accuracy"]["value"] == 0.5
    assert found["average_accuracy"]["value"] == pytest.approx(5 / 6)
    assert found["adjusted_accuracy"]["value"] == 0.75  # a and b weigh the same
    assert of_all(rows, "label x group")["worst_group_accuracy"]["value"] == 0.0  # (1, b)
    assert (found["average_accuracy"]["ci_low"], found["average_accuracy"]["ci_high"]) == clopper_pearson(5, 6)


def test_attributes_are_measured_together_and_their_cells_named():
    groups = {"sex": list("ffmm") * 5, "age": ["old", "young"] * 10}
    rows = group_metrics([0, 1] * 10, [0, 1, 1, 1] * 5, groups)
    assert {row["attribute"] for row in rows} == {
        *("label", "sex", "age", "sex x age", "label x sex", "label x age", "label x sex x age")
    }
    assert by_key(rows)["sex x age", "m, old", "accuracy"] == 0
    assert by_key(rows)["sex", "m", "accuracy"] == 0.5
    many = {name: [f"{name}{i % 8}" for i in range(20)] for name in ("p", "q")}
    assert not any(row["attribute"] == "p x q" for row in group_metrics([0, 1] * 10, [0, 1] * 10, many))  # 64 cells


# ---- rows of a run ---------------------------------------------------------------------------


def _records(n=300, classes=3, seed=0, subjects=False):
    rng = np.random.default_rng(seed)
    return Records(
        images=np.zeros((n, 1, 1, 1), np.uint8),
        labels=rng.integers(0, classes, n).astype(np.int32),
        attributes=np.stack([rng.integers(-1, 2, n), rng.choice([0, 1, 3], n)], 1).astype(np.int8),
        ids=np.array([f"r{i}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tint", ("dark", "light")), AttributeSpec("size", ("s", "m", "unseen", "l"))),
        label_names=tuple("abc"[:classes]),
        subjects=np.array([f"s{i // 4}" if i % 5 else "" for i in range(n)]) if subjects else None,
    )


def _probabilities(records, seed=1):
    rng = np.random.default_rng(seed)
    table = rng.dirichlet(np.ones(records.classes), len(records)).astype(np.float32)
    table[np.arange(len(records)), records.labels] += 0.4
    return table / table.sum(1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("subjects", [False, True])
def test_rows_are_the_same_bit_for_bit_in_any_order_of_the_table(classes, subjects):
    records = _records(classes=classes, subjects=subjects)
    table = _probabilities(records)
    rows = fairness_rows(table, records, 2, "iteration")
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(records))
        assert fairness_rows(table[order], records.take(order), 2, "iteration") == rows


@pytest.mark.parametrize("classes", [2, 3])
def test_the_rows_of_accuracy_by_group_are_among_them(classes):
    records = _records(classes=classes)
    table = _probabilities(records)
    rows = fairness_rows(table, records, 0, "before")
    assert all(list(row) == ["iteration", "stage", *KEYS] for row in rows)
    for expected in accuracy_by_group(table, records, 0, "before"):
        (found,) = [r for r in rows if all(r[k] == expected[k] for k in ("attribute", "group", "metric"))]
        assert found == pytest.approx(expected)
    nobody = [row for row in rows if row["attribute"] == "size" and row["group"] == "unseen"]
    assert nobody
    assert {row["value"] for row in nobody} == {None}
    keys = [(row["attribute"], row["group"], row["metric"]) for row in rows]
    assert len(set(keys)) == len(keys)


def test_a_receipt_holds_no_cells():
    records = _records()
    rows = of_groups(fairness_rows(_probabilities(records), records, 0, "round 1"))
    assert {row["attribute"] for row in rows} == {"label", "tint", "size", "tint x size"}
    assert "equalized_odds" in {row["metric"] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [0], ["a", "b"]), "y_pred: has 1 rows, y_true has 2"),
        (([0, 1], [0, 1], ["a"]), "group: has 1 rows"),
        (([0, 1], [0, 2], ["a", "b"]), "2 is no class of y_true, which has 0, 1"),
        (([1, 1], [1, 1], ["a", "b"]), "at least two classes"),
        (([], [], {}), "at least two classes"),
        (([0, 1], [0, 1], [None, None]), "no row has a known value"),
        (([0, 1] * 30, [0, 1] * 30, range(60)), "60 values, expected at most 50"),
    ],
)
def test_bad_columns_are_refused(arguments, words):
    with pytest.raises(UserError, match=words):
        group_metrics(*arguments)


def test_bad_scores_and_positives_are_refused():
    with pytest.raises(UserError, match=r"row 1 has 1\.5"):
        group_metrics([0, 1], [0, 1], ["a", "b"], scores=[0.5, 1.5])
    with pytest.raises(UserError, match="row 0 has nan"):
        group_metrics([0, 1], [0, 1], ["a", "b"], scores=[np.nan, 0.5])
    with pytest.raises(UserError, match="expected one of 0, 1, got 7"):
        group_metrics([0, 1], [0, 1], ["a", "b"], positive=7)


def test_the_positive_class_can_be_named():
    table = (["no", "no", "yes", "yes"], ["no", "yes", "yes", "yes"], list("abab"))
    assert by_key(group_metrics(*table, positive="no"))["group", "a", "tpr"] == 1
    assert by_key(group_metrics(*table))["group", "a", "fpr"] == 0


# ---- coverage --------------------------------------------------------------------------------


def test_intervals_cover_a_known_population():
    shares = populations.covered(populations.UNEQUAL, 60)
    assert {key: share for key, share in shares.items() if share < 0.85} == {}  # 3.6 standard errors below 0.95
    assert 0.93 <= np.mean(list(shares.values())) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("name", ["UNEQUAL", "PEOPLE"])
def test_every_interval_covers_93_to_97_percent_of_500_samples_of_unequal_groups(name):
    """0.95 give or take three standard errors of 500 samples, 0.01 each, and 93 to 97 % on average."""
    shares = populations.covered(getattr(populations, name), 500)
    assert {key: share for key, share in shares.items() if not 0.92 <= share <= 0.98} == {}
    assert 0.93 <= np.mean(list(shares.values())) <= 0.97


@pytest.mark.slow
def test_intervals_cover_where_groups_are_equal_and_a_bootstrap_of_the_gap_never_would():
    shares = populations.covered(populations.EQUAL, 500)
    assert {key: share for key, share in shares.items() if share < 0.92} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "unlike", "rows"), [(3, 0.5, 1500), (5, 0.5, 1500), (4, 0.0, 1000)])
def test_the_worst_class_and_the_mean_of_classes_are_covered_too(classes, unlike, rows):
    """At least 95 % less three standard errors of 200 samples; where classes or groups are alike it is more."""
    shares = populations.covered_of_classes(classes, unlike, rows, 200)
    assert {name: share for name, share in shares.items() if share < 0.905} == {}


def test_means_of_equal_classes_are_covered():
    shares = populations.covered_of_classes(4, 0.0, 300, 25)
    assert {name: share for name, share in shares.items() if share < 0.8} == {}
