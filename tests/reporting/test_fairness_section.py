"""Group fairness in the report and in receipts: the numbers are those of fairness.json, and gaps in it are said."""

import json
import re

import numpy as np
import pytest

from tests.reporting.test_report import Page
from tfpdu.audit import group_metrics, of_groups
from tfpdu.common.files import write_json
from tfpdu.reporting import write_report
from tfpdu.reporting.fairness import as_lines, sections
from tfpdu.reporting.receipt import write_receipt_page

MOMENTS = ((0, "before"), (0, "after"), (0, "iteration"), (1, "iteration"), (2, "iteration"))


def measured(seed=0, attribute="gender", groups=("female", "male"), classes=("no", "yes")):
    rng = np.random.default_rng(seed)
    labels, codes = rng.integers(0, len(classes), 200), rng.integers(0, 2, 200)
    predicted = np.where(rng.random(200) < 0.8 - 0.2 * codes, labels, rng.integers(0, len(classes), 200))
    names = np.array(classes)
    known = np.array([*groups, ""], dtype=object)[np.where(rng.random(200) < 0.1, 2, codes)]
    known[known == ""] = None
    return group_metrics(names[labels], names[predicted], {attribute: known})


def of_run(**options):
    return [
        {"iteration": t, "stage": stage, **row}
        for k, (t, stage) in enumerate(MOMENTS)
        for row in measured(seed=k, **options)
    ]


@pytest.fixture
def run(made_up_run):
    run = made_up_run(done=2).everything()
    write_json(run.directory / "fairness.json", of_run())
    return run


def section_of(run) -> str:
    text = write_report(run.directory).read_text(encoding="utf-8")
    Page(text)  # asserts that elements nest
    return text[text.index('<section id="fairness">') : text.index('<section id="table">')]


def row_of(run, metric, stage, iteration, group="all", attribute="gender"):
    rows = json.loads((run.directory / "fairness.json").read_text())
    key = {"metric": metric, "stage": stage, "iteration": iteration, "group": group, "attribute": attribute}
    (row,) = [row for row in rows if all(row[name] == value for name, value in key.items())]
    return row


def test_measures_stand_before_and_after_debiasing_and_at_the_last_iteration(run):
    text = section_of(run)
    line = re.search(r'<th scope="row">worst-group accuracy</th>(.*?)</tr>', text, re.S).group(1)
    expected = []
    for t, stage in ((0, "before"), (0, "after"), (2, "iteration")):
        row = row_of(run, "worst_group_accuracy", stage, t)
        expected += [row["value"], row["ci_low"], row["ci_high"]]
    assert [float(value) for value in re.findall(r'<data value="([^"]+)"', line)] == expected
    odds = re.search(r'<th scope="row">equalized odds</th>(.*?)</tr>', text, re.S).group(1)
    assert f"{100 * row_of(run, 'equalized_odds', 'iteration', 2)['value']:.1f}" in odds  # in points
    assert "after step 2" in text
    assert "after step 1" not in text


def test_groups_are_those_of_the_last_iteration_with_the_unknown_counted(run):
    text = section_of(run)
    line = re.search(r'<th scope="row">female</th>(.*?)</tr>', text, re.S).group(1)
    found = [float(value) for value in re.findall(r'<data value="([^"]+)"', line)]
    tpr = row_of(run, "tpr", "iteration", 2, "female")
    assert found[:2] == [tpr["n"], tpr["n_pos"]]
    assert tpr["value"] in found
    unknown = row_of(run, "unknown", "iteration", 2)["n"]
    assert unknown > 0
    assert f'<data value="{unknown}">{unknown}</data> rows whose value is not known are left out' in text


def test_the_section_says_what_balancing_does_not_guarantee_and_draws_the_gaps(run):
    text = section_of(run)
    assert "guarantees none of these measures" in text
    assert text.count("<svg") == 1
    assert "Differences between the groups of gender. demographic parity:" in text


def test_rates_of_nobody_are_not_estimable_and_no_zero(made_up_run):
    run = made_up_run(done=0).everything()
    rows = group_metrics([1, 1, 0, 0, 0], [1, 0, 0, 1, 0], list("aaabb"))
    write_json(run.directory / "fairness.json", [{"iteration": 0, "stage": "after", **row} for row in rows])
    text = section_of(run)
    assert re.search(r'<th scope="row">equal opportunity</th><td><span class="small">not estimable</span></td>', text)
    assert "equal opportunity: not estimable" in text  # of the chart
    assert text.count(">not estimable<") >= 3


def test_of_several_classes_the_worst_and_the_mean_are_shown(made_up_run):
    run = made_up_run(done=2).everything()
    write_json(run.directory / "fairness.json", of_run(classes=("cat", "dog", "emu")))
    text = section_of(run)
    assert "equalized odds, worst class" in text
    assert text.count("… mean of classes") == 4
    assert "positives</th>" not in text


def test_a_run_that_measured_accuracies_alone_says_so(made_up_run):
    run = made_up_run(done=1).everything()
    assert "its fairness.json holds accuracies alone" in section_of(run)
    (run.directory / "fairness.json").unlink()
    assert "Not there yet: group fairness is measured" in section_of(run)


def test_cells_of_class_and_group_make_no_chart_of_accuracies(run):
    text = write_report(run.directory).read_text(encoding="utf-8")
    groups = text[text.index('<section id="groups">') : text.index('<section id="fairness">')]
    assert groups.count("<svg") == 2  # label and gender
    assert "label x gender" not in groups


def test_names_of_attributes_and_groups_are_escaped(made_up_run):
    run = made_up_run(done=2).everything()
    evil = "<script>alert('x')</script>"
    write_json(run.directory / "fairness.json", of_run(attribute=evil, groups=(evil, "all")))
    text = section_of(run)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_lines_for_a_terminal_hold_every_measure_and_group():
    lines = as_lines(measured(), ("no", "yes"))
    assert lines[0] == "positive class: yes"
    (section,) = sections(of_run())
    assert len(lines) == 3 + len(section.measures) + 1 + len(section.groups)
    assert all(line == line.rstrip() for line in lines)


def test_a_receipt_lists_accuracies_and_measures_before_and_after(tmp_path):
    before, after = (of_groups([row for row in of_run() if row["iteration"] == t]) for t in (1, 2))
    receipt = {
        **{"round": 1, "tfpdu": "0", "data": "digits", "rows": ["x"], "in_classifier": 1, "complete": True},
        **{"incomplete": [], "requests": [], "pools": {}, "mode": "experiment", "near_copies": 0, "where": []},
        **{"shards_retrained": [], "purged": [], "artefacts": {}, "started": "2026"},
        "before": {"groups": before, "test_accuracy": 0.5, "loss_of_rows": 1.0},
        "after": {"groups": after, "test_accuracy": 0.5, "loss_of_rows": 1.0},
    }
    write_receipt_page(tmp_path / "r.html", receipt)
    text = (tmp_path / "r.html").read_text()
    line = re.search(r'<th scope="row">equalized odds, gender</th>(.*?)</tr>', text).group(1)
    odds = [next(row["value"] for row in side if row["metric"] == "equalized_odds") for side in (before, after)]
    assert [float(value) for value in re.findall(r'<data value="([^"]+)"', line)] == odds
    assert "accuracy, gender female" in text
    assert "label x" not in text
