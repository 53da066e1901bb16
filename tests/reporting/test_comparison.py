"""Runs beside the paper: verdicts by interval alone, intervals over seeds, and reasons where nothing can be said."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from tests.commands import command
from tfpdu.common import UserError
from tfpdu.common.files import read_json, write_json
from tfpdu.reporting import comparison
from tfpdu.reporting.comparison import BETTER, NOT_COMPARABLE, REPRODUCED, WORSE, compare, judge, ours_text
from tfpdu.reporting.comparison_page import write_comparison_page
from tfpdu.reporting.measurements import Measured, less, measurements, over_seeds
from tfpdu.reporting.paper import AT_LEAST, ORDER, SEEN, Published, Setting
from tfpdu.reporting.run_data import read_run

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/cifar10"


def published(value, kind="value", better="higher", unit="share"):
    return Published("number", value, unit, "measure", "Table I", kind, better)


@pytest.mark.parametrize(
    ("row", "measured", "verdict"),
    [
        (published(0.65), Measured(0.64, 0.62, 0.66), REPRODUCED),
        (published(0.65), Measured(0.70, 0.68, 0.72), BETTER),
        (published(0.65), Measured(0.60, 0.58, 0.62), WORSE),
        (published(661, better="lower", unit="seconds"), Measured(120.0), BETTER),
        (published(661, better="lower", unit="seconds"), Measured(700.0), WORSE),
        (published(0.5, better=""), Measured(0.56, 0.54, 0.58), WORSE),
        (published(918, better="", unit="rows"), Measured(918, 918, 918), REPRODUCED),
        (published(918, better="", unit="rows"), Measured(919, 919, 919), WORSE),
        (published(0.0, ORDER), Measured(0.02, 0.01, 0.03), REPRODUCED),
        (published(0.0, ORDER), Measured(-0.02, -0.03, -0.01), WORSE),
        (published(0.0, ORDER), Measured(0.02, -0.01, 0.05), NOT_COMPARABLE),
        (published(0.6, AT_LEAST, "lower"), Measured(0.65, 0.62, 0.68), REPRODUCED),
        (published(0.6, AT_LEAST, "lower"), Measured(0.51, 0.49, 0.53), BETTER),
        (published(0.6, AT_LEAST, "lower"), Measured(0.61, 0.58, 0.64), NOT_COMPARABLE),
        (published(0.45, SEEN), Measured(0.55, 0.5, 0.6), NOT_COMPARABLE),
    ],
)
def test_verdicts(row, measured, verdict):
    assert judge(row, measured)[0] == verdict


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.3), st.floats(0, 0.3), st.sampled_from(["higher", "lower", ""]))
def test_a_number_is_reproduced_just_where_the_interval_holds_it(value, ours, below, above, better):
    measured = Measured(ours, ours - below, ours + above)
    verdict = judge(published(value, better=better), measured)[0]
    assert (verdict == REPRODUCED) == (measured.low <= value <= measured.high)
    if verdict == BETTER:
        assert (ours > value) == (better == "higher")


def test_the_interval_over_seeds_is_students():
    (found,) = over_seeds([{"a": Measured(v)} for v in (1.0, 2.0, 3.0)]).values()
    assert (found.value, found.runs) == (2.0, 3)
    assert found.high - found.value == pytest.approx(4.302653 / 3**0.5, rel=1e-6)  # t(0.975, 2 degrees of freedom)
    assert found.low == pytest.approx(4 - found.high)


def test_what_one_seed_lacks_is_not_said_of_all():
    assert set(over_seeds([{"a": Measured(1.0), "b": Measured(2.0)}, {"a": Measured(1.0)}])) == {"a"}


def test_a_difference_adds_the_squares():
    found = less(Measured(0.6, 0.57, 0.63), Measured(0.5, 0.46, 0.54))
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.05), pytest.approx(0.15))  # 3-4-5
    assert less(Measured(0.6), Measured(0.5)).low is None


def test_a_finished_run_is_measured_from_its_files():
    found = measurements(read_run(EXAMPLE))
    assert found["added"] == Measured(1148, 1148, 1148)
    assert found["count/superclass=animal"].value == 3074
    assert found["test_accuracy@last"] == found["test_accuracy@10"]
    assert found["test_accuracy@10"].value == 0.4661
    assert found["test_accuracy@10"].low == pytest.approx(0.4563, abs=2e-4)  # Clopper-Pearson of 4661 in 10,000
    assert found["test_accuracy@10"].high == pytest.approx(0.4759, abs=2e-4)
    assert found["success/strongest@0"].value == max(
        found[f"success/{a}@0"].value for a in ("m_loss", "m_mean", "moments")
    )
    assert found["lead/moments-m_loss@0"].value == pytest.approx(0.568 - 0.5455)
    before = [
        row["value"]
        for row in read_json(EXAMPLE / "fairness.json")
        if row["stage"] == "before" and row["attribute"] == "label" and row["metric"] == "accuracy"
    ]
    assert found["worst/label@before"].value == min(before)
    gains = [found[f"gain/worst {a}"] for a in ("label", "superclass")]
    assert all(gain.low < gain.value < gain.high for gain in gains)


def verdict_of(found, name):
    return next((line.verdict, line.reason) for line in found.lines if line.published.name == name)


def test_the_committed_run_gets_its_verdicts():
    found = compare([EXAMPLE])
    assert verdict_of(found, "retain accuracy, iteration 10")[0] == REPRODUCED
    assert verdict_of(found, "testing accuracy, iteration 10")[0] == WORSE
    assert verdict_of(found, "training time, iteration 1")[0] == BETTER
    assert verdict_of(found, "CIFAR-10: success of moments at the end")[0] == REPRODUCED
    assert verdict_of(found, "vehicles added") == (
        NOT_COMPARABLE,
        "the paper's S has 2959 of superclass=animal, the run's 3074: another draw",
    )
    assert "a number of celeb_a" in verdict_of(found, "CelebA: success of moments at the end")[1]
    assert sum(found.tally.values()) == len(found.lines)
    assert all(line.reason for line in found.lines)


def test_the_papers_own_draw_is_compared(made_up_run):
    run = made_up_run().everything()
    found = compare([run.directory])
    assert verdict_of(found, "animals in S")[0] == REPRODUCED
    assert verdict_of(found, "vehicles added")[0] == WORSE  # the made-up run also balances the background


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"name": "digits"}}, "the run is of digits"),
        ({"augment": {"method": "oversample"}}, "augment.method=oversample"),
        ({"augment": {"method": "diffusion", "replenish": False}}, "augment.replenish=False"),
        ({"loop": {"iterations": 5, "capacity": 0.2}}, "the paper forgets in 10 steps, the run in 5"),
    ],
)
def test_a_run_of_another_setting_says_which(made_up_run, change, reason):
    run = made_up_run().everything()
    run.config(**change)
    found = compare([run.directory])
    assert verdict_of(found, "retain accuracy, iteration 1")[0] == NOT_COMPARABLE
    assert reason in verdict_of(found, "retain accuracy, iteration 1")[1]


def test_a_run_in_progress_is_compared_as_far_as_it_got(run_builder, tmp_path):
    run = run_builder(tmp_path / "run", done=4, pictures=(2, 8)).everything()
    found = compare([run.directory])
    assert verdict_of(found, "retain accuracy, iteration 4")[0] != NOT_COMPARABLE
    assert verdict_of(found, "retain accuracy, iteration 5") == (NOT_COMPARABLE, "iteration 5 is not done")


@pytest.fixture
def two_seeds(tmp_path):
    """The committed run, and a copy of it that says it is another seed and is a point better everywhere."""
    copy = tmp_path / "other"
    shutil.copytree(EXAMPLE, copy)
    write_json(copy / "config.json", read_json(copy / "config.json") | {"seed": 1})
    events = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    for event in events:
        if event["event"] == "iteration":
            event["test_accuracy"] += 0.01
    (copy / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return [EXAMPLE, copy]


def test_seeds_are_taken_together(two_seeds):
    found = compare(two_seeds)
    line = next(line for line in found.lines if line.published.measure == "test_accuracy@10")
    assert line.measured.value == pytest.approx(0.4711)
    assert line.measured.high - line.measured.value == pytest.approx(12.7062 * 0.005, rel=1e-4)  # t(0.975, 1)
    assert line.measured.interval == "t over 2 seeds"


def test_runs_have_to_differ_in_the_seed_alone(two_seeds):
    with pytest.raises(UserError, match="2 of the runs have seed 0"):
        compare([EXAMPLE, EXAMPLE])
    config = read_json(two_seeds[1] / "config.json")
    config["ensemble"]["shards"] = 5
    write_json(two_seeds[1] / "config.json", config)
    with pytest.raises(UserError, match=r"config\.ensemble\.shards=5.*with 2"):
        compare(two_seeds)


def test_other_published_numbers_can_be_put_beside_a_run():
    row = Published("mine", 0.55, "share", "test_accuracy@0", "my table", better="higher", setting=Setting())
    assert [line.verdict for line in compare([EXAMPLE], [row]).lines] == [REPRODUCED]


def test_the_page_stands_alone_and_states_the_rule(tmp_path):
    found = compare([EXAMPLE])
    for name in ("a.html", "b.html"):
        write_comparison_page(tmp_path / name, found)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "no tolerance, no threshold" in text
    assert "http" not in text
    assert '<data value="0.4661">46.6%</data>' in text
    told = [line for line in found.lines if line.verdict != NOT_COMPARABLE]
    assert text.count("<data ") == 2 * len(told)
    assert all(str(escape(line.published.name.partition(", iteration")[0])) in text for line in found.lines)
    assert all(str(escape(line.reason)) in text for line in found.lines if line not in told)
    assert text.count("<svg ") == 3  # of Table I, each with both courses
    assert f"paper 74.5% at first, 74.1% at last; ours {ours_text(told[0])} at first" in text
    assert all(str(escape(line)) in text for line in comparison.RULE)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["--workdir=nowhere"], ["--workdir={run}", "--page=page.txt"]])
def test_bad_input_is_one_line_and_exit_code_2(arguments):
    words = [word.format(run=EXAMPLE) for word in arguments]
    result = command("scripts/compare_paper.py", *words)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_command_ends_with_0_whatever_the_verdicts(tmp_path):
    words = [f"--workdir={EXAMPLE}", f"--output={tmp_path / 'rows.json'}", f"--page={tmp_path / 'page.html'}"]
    result = command("scripts/compare_paper.py", *words)
    assert result.returncode == 0, result.stderr
    written = read_json(tmp_path / "rows.json")
    assert written["verdicts"][WORSE] > 0
    assert {"name", "place", "published", "measured", "ci_low", "verdict", "reason"} <= set(written["rows"][0])
    assert "testing accuracy, iteration 10" in result.stdout
    assert str(tmp_path) not in (tmp_path / "rows.json").read_text()
