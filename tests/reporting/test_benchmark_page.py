import csv
import io
import json
import re

import pytest

from tfpdu.reporting import benchmark as tables
from tfpdu.reporting.benchmark_page import BenchmarkReport, write_benchmark_page
from tfpdu.reporting.benchmark_robustness import associations


def line(scenario, seed, method, **numbers):
    values = {"forget_accuracy": 0.9, "retain_accuracy": 1.0, "test_accuracy": 0.8, "ft_auc": 0.52, **numbers}
    step = {**values, "seconds": 2.0}
    confidence = {split: [0.0] * 19 + [1.0] for split in ("forget", "retain", "test")}
    head = {"scenario": scenario, "seed": seed, "method": method, "cell_seconds": 3.0}
    return {**head, "steps": [step], **step, "confidence": confidence}


LINES = [
    line(
        scenario,
        seed,
        method,
        test_accuracy=0.8 + 0.02 * seed,
        **({"average_gap": 1.5, "time_ratio": 0.3} if own else {}),
    )
    for seed in (0, 1)
    for scenario in ("random:0.1", "class:3")
    for method, own in (("original", False), ("retrain", False), ("amun", True), ("salun", True))
]
SKIPPED = {
    "scenario": "no_retain:0.1",
    "seed": 0,
    "method": "scrub",
    "skipped": "needs retained rows, which are not at hand",
}


def test_seeds_are_gathered_to_mean_and_deviation_and_scenarios_stay_together():
    found = tables.entries(LINES)
    assert [(entry.scenario, entry.method) for entry in found[:5]] == [
        *(("random:0.1", method) for method in ("original", "retrain", "amun", "salun")),
        ("class:3", "original"),
    ]
    spread = found[2].values["test_accuracy"]
    assert (spread.mean, spread.seeds) == (pytest.approx(0.81), 2)
    assert spread.deviation == pytest.approx(0.02 / 2**0.5)
    assert tables.cell(found[2], "test_accuracy") == "81.0 ±1.4"
    assert tables.entries(LINES[:1])[0].values["test_accuracy"].deviation is None  # of one seed nothing is known


def test_a_number_that_a_seed_lacks_is_not_averaged():
    lines = [line("random:0.1", 0, "amun", average_gap=1.0), line("random:0.1", 1, "amun")]
    assert "average_gap" not in tables.entries(lines)[0].values


def test_the_terminal_has_a_table_a_scenario_and_says_why_a_method_is_missing():
    text = "\n".join(tables.as_lines(tables.entries([*LINES, SKIPPED])))
    assert [word in text for word in ("random:0.1", "class:3", "AMUN", "81.0 ±1.4")] == [True] * 4
    assert re.search(r"SCRUB +needs retained rows", text)


def test_csv_and_json_have_every_number():
    rows = list(csv.DictReader(io.StringIO(tables.as_csv([*LINES, SKIPPED]))))
    assert len(rows) == len(LINES) + 1
    assert float(rows[2]["average_gap"]) == 1.5
    assert rows[-1]["skipped"].startswith("needs retained rows")
    summary = json.loads(json.dumps(tables.as_summary(tables.entries(LINES))))
    assert summary[2]["measures"]["average_gap"] == {"mean": 1.5, "sd": 0.0}


def test_the_page_stands_alone_and_is_the_same_each_time(tmp_path):
    report = BenchmarkReport("Unlearning methods on digits", [("data", "digits")], [*LINES, SKIPPED], 20)
    for name in ("one", "two"):
        write_benchmark_page(tmp_path / f"{name}.html", report)
    text = (tmp_path / "one.html").read_text()
    assert text == (tmp_path / "two.html").read_text()
    assert "17 of 20 cells are done" in text
    assert text.count("<svg") >= 4 + 3  # a chart of either trade-off in two scenarios, and confidence
    assert not re.search(r"https?://|src=\"(?!data:)", text)
    assert text.index("AMUN") < text.index("SalUn")


def test_a_page_of_requests_in_a_row_draws_each_method_over_them(tmp_path):
    lines = []
    for method in ("original", "retrain", "amun", "amun_adaptive"):
        one = line("successive:2x0.02", 0, method, fr_auc=0.6, average_gap=1.0)
        lines.append({**one, "steps": [*one["steps"], {**one["steps"][0], "ft_auc": 0.5}]})
    write_benchmark_page(tmp_path / "page.html", BenchmarkReport("x", [], lines, 4))
    assert "Request after request" in (tmp_path / "page.html").read_text()


def test_published_gaps_stand_beside_ours_with_the_agreement_of_the_orders():
    from tfpdu.reporting.benchmark_published import beside

    gaps = {"amun": 0.1, "salun": 0.2, "random_labels": 0.3, "fine_tune": 0.4, "gradient_ascent": 0.5}
    lines = [line("random:0.1", 0, method, average_gap=gap) for method, gap in gaps.items()]
    tables_ = beside("random:0.1", tables.entries(lines))
    assert "Table 1, 10 %" in tables_[0].heading
    assert [row[0] for row in tables_[0].rows] == ["AMUN", "SalUn", "random labels", "fine-tune", "gradient ascent"]
    assert tables_[0].rows[0][1:] == (0.1, 0.62)
    assert tables_[0].agreement == pytest.approx(1.0)  # the published order is ours
    assert any("second-hand" in table.heading for table in tables_)
    assert beside("class:3", tables.entries(lines)) == []
    assert beside("random:0.1", tables.entries(lines[:3])) == []


def test_the_page_has_published_gaps_only_for_the_data_that_they_are_about(tmp_path):
    methods = ("amun", "salun", "random_labels", "fine_tune")
    lines = [line("random:0.1", 0, method, average_gap=float(i)) for i, method in enumerate(methods)]
    for published in (True, False):
        write_benchmark_page(tmp_path / "page.html", BenchmarkReport("x", [], lines, 4, published))
        assert ("Beside published numbers" in (tmp_path / "page.html").read_text()) == published


def robust(gaps, left, clean=0.8):
    """A line a model, with these layer spread gaps and accuracies under FGSM."""
    return [
        line("random:0.1", 0, f"m{i}", layer_spread_std=gap, robust_fgsm_test=under, clean_test=clean)
        for i, (gap, under) in enumerate(zip(gaps, left, strict=True))
    ]


def test_a_larger_layer_spread_with_less_robustness_is_a_positive_rank_correlation():
    left = [0.7, 0.6, 0.3, 0.2, 0.1]
    (found,) = associations(tables.entries(robust([0.1, 0.2, 0.5, 0.7, 0.9], left)))
    assert (found.attack, found.spread, found.rho, found.models) == ("fgsm", "std", pytest.approx(1.0), 5)
    (found,) = associations(tables.entries(robust([0.9, 0.7, 0.5, 0.2, 0.1], left)))
    assert found.rho == pytest.approx(-1.0)


def test_models_that_know_less_are_not_taken_for_less_robust():
    lines = robust([0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.4, 0.4]) + robust([0.9], [0.05], clean=0.1)
    assert associations(tables.entries(lines)) == []  # an attack turns half of each model's right answers


@pytest.mark.parametrize("left", [[0.0] * 5, [0.4, 0.3, 0.2, 0.1]])
def test_no_rank_correlation_where_all_fall_alike_or_there_are_few(left):
    assert associations(tables.entries(robust([0.1, 0.2, 0.3, 0.4, 0.5][: len(left)], left))) == []


def test_the_page_says_how_robustness_goes_with_layer_spread(tmp_path):
    lines = robust([0.1, 0.2, 0.5, 0.7, 0.9], [0.7, 0.6, 0.3, 0.2, 0.1])
    write_benchmark_page(tmp_path / "page.html", BenchmarkReport("x", [], lines, 5))
    words = re.sub(r"</?data[^>]*>", "", (tmp_path / "page.html").read_text())
    assert re.search(r"FGSM</th><td>1\.00 \(p [^)]*\)</td><td></td>", words)
