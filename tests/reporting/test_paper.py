"""The published numbers: complete, unique, and those of the texts where these are at hand."""

import re
from pathlib import Path

import pytest

from tfpdu.reporting import paper
from tfpdu.reporting.published_methods import AMUN_10, AMUN_50, CS726, SALUN_10, SALUN_50, SOURCES, STATEMENTS, TABLES

SEEDS = Path(__file__).parents[2].parent / "shared" / "seeds"


def text_of(name):
    if not (SEEDS / name).is_file():
        pytest.skip("needs the texts of the papers beside the checkout")
    return " ".join((SEEDS / name).read_text(encoding="utf-8").split())


def test_table_one_is_ten_iterations_of_three_numbers():
    rows = paper.table1()
    assert len(rows) == 30
    assert [row.value for row in rows if row.measure == "retain_accuracy@7"] == [0.761]
    assert [row.value for row in rows if row.measure == "test_accuracy@9"] == [0.688]
    assert [row.value for row in rows if row.measure == "step_seconds@2"] == [725]
    assert (min(paper.RETAIN), max(paper.RETAIN), min(paper.TESTING), max(paper.TESTING)) == (
        0.741,
        0.761,
        0.642,
        0.688,
    )


def test_the_counts_add_up():
    by_name = {row.name: row.value for row in paper.DEBIASING}
    assert by_name["animals in S"] + by_name["vehicles in S"] == by_name["rows of S"] == 5000
    assert by_name["animals in S"] - by_name["vehicles in S"] == by_name["vehicles added"]
    assert by_name["animals added"] == 3200 - 800


def test_every_number_is_named_once_and_says_where_it_is_from():
    rows = paper.main_paper()
    assert len({row.name for row in rows}) == len(rows)
    assert all(re.search(r"Table|Figure|section", row.place) for row in rows)
    assert {row.unit for row in rows} == {"share", "seconds", "rows"}
    assert all(row.value is None or row.unit != "share" or 0 <= row.value <= 1 for row in rows)


def test_the_numbers_are_those_of_the_text():
    text = text_of("pdu_paper.txt")
    for name, row in (("Retain", paper.RETAIN), ("Testing", paper.TESTING)):
        assert f"{name} " + " ".join(f"{100 * value:.1f}%" for value in row) in text
    assert "Training Time " + " ".join(paper.TRAINING_TIME) in text
    for words in (
        "animals:2959 vs vehicles: 2041",
        "918 vehicle images",
        "4000 training original cifar10 images with a 80/20 vehicle animal split",
        "2400 additional synthetic cifar10 images",
        "baseline attack success rate directly applied on original dataset is 45%",
        "baseline attack success rate holds as 37%",
        "Moment > M-Mean > M-loss",
        "Moment > M-loss > M-mean",
        "exceeding 60%, even when subjected to an 80% rate",
        "< 45% attack success rate",
    ):
        assert words in text, words


def test_the_students_study_is_that_of_the_slides():
    text = text_of("cs726_unlearning_slides.txt")
    values = {s.value for s in STATEMENTS if s.source == "cs726"}
    assert values == {0.46, 0.99}
    assert all(f"Attack accuracy: {value}" in text for value in values)
    assert "Test set accuracy before unlearning: 88.0%" in text
    assert "Test set accuracy: 85.8%" in text
    assert CS726.value("FT", "test_accuracy") == 84.1


def test_tables_of_methods_are_whole_and_name_a_source():
    for table in TABLES:
        assert table.source in SOURCES
        assert all(len(row) == len(table.columns) for row in table.rows.values()), table.place
        assert set(table.spreads) in (set(), set(table.rows))
    assert all(statement.source in SOURCES for statement in STATEMENTS)
    assert not SOURCES["salun"].checked


@pytest.mark.parametrize(
    ("table", "columns", "rounding"),
    [
        # Printed gaps of AMUN are means over runs of absolute gaps, so at least those of the means.
        (AMUN_10, ("unlearn_accuracy", "retain_accuracy", "test_accuracy", "ft_auc"), 0.5),
        (AMUN_50, ("unlearn_accuracy", "retain_accuracy", "test_accuracy", "ft_auc"), 0.6),
        (SALUN_10, ("unlearn_error", "retain_accuracy", "test_accuracy", "mia_efficacy"), 0.02),
        (SALUN_50, ("unlearn_error", "retain_accuracy", "test_accuracy", "mia_efficacy"), 0.02),
    ],
)
def test_average_gaps_follow_from_the_rows(table, columns, rounding):
    for method in set(table.rows) - ({"GA"} if "GA" in table.note else set()):
        assert table.gap(method, columns) == pytest.approx(table.value(method, "average_gap"), abs=rounding), method
