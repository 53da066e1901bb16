"""Table I on disk and on the terminal."""

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.reporting import console_table, print_table, write_table1
from tfpdu.reporting.tables import TABLE1_COLUMNS

STEP = {
    "event": "iteration",
    "iteration": 1,
    "forget_fraction": 0.1,
    "n_original": 4500,
    "n_synthetic": 1418,
    "retain_accuracy": 0.745,
    "test_accuracy": 0.646,
    "train_seconds": 661.0,
    "unlearn_seconds": None,
}


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_those_agreed_and_missing_values_are_empty(tmp_path):
    path = write_table1(tmp_path, [{"event": "generator"}, STEP])
    assert path.read_text().splitlines() == [
        "iteration,retain_accuracy,test_accuracy,train_seconds,unlearn_seconds,forget_fraction",
        "1,0.745,0.646,661.0,,0.1",
    ]


def test_repeated_iteration_counts_once_as_last_written_and_order_is_by_iteration(tmp_path):
    events = [STEP | {"iteration": 2}, STEP, STEP | {"iteration": 2, "test_accuracy": 0.5}]
    rows = read(write_table1(tmp_path, events))
    assert [row["iteration"] for row in rows] == ["1", "2"]
    assert rows[1]["test_accuracy"] == "0.5"


@settings(deadline=None)  # files are fsynced
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_numbers_come_back_exactly(tmp_path_factory, rates):
    path = write_table1(
        tmp_path_factory.mktemp("table"),
        [STEP | {"iteration": t, "test_accuracy": rate} for t, rate in enumerate(rates)],
    )
    assert [float(row["test_accuracy"]) for row in read(path)] == rates


def test_no_iterations_give_a_head_alone(tmp_path):
    assert read(write_table1(tmp_path, [])) == []
    assert (tmp_path / "table1.csv").read_text().strip() == ",".join(TABLE1_COLUMNS)


def test_console_table_is_aligned_and_fits_a_terminal():
    out = io.StringIO()
    print_table([STEP, STEP | {"iteration": 10, "forget_fraction": 1.0}], file=out)
    lines = out.getvalue().splitlines()
    assert lines[1].split() == ["1", "10%", "4,500", "1,418", "74.5%", "64.6%", "11m", "1s", "–"]
    assert len({len(line) for line in lines}) == 1
    assert max(map(len, lines)) <= 80
    assert console_table([]).split()[0] == "it"
