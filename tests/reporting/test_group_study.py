"""The pages of the two studies: words that the numbers choose, on numbers that are known."""

import csv
import io
import json
import re
import types

import numpy as np
import pytest
from scipy import stats

from tests.debiasing.tables import no_source, study
from tfpdu.common.cells import Cells
from tfpdu.debiasing import METHODS, Comparison, Deletion, StudySettings
from tfpdu.reporting import debiasing, deletion_study
from tfpdu.reporting.group_study import MEASURES, Found, Results, as_csv, as_lines, as_summary
from tfpdu.reporting.group_study_page import write_study_page
from tfpdu.reporting.group_study_words import report_of

SEEDS = (0, 1, 2)
MACHINE = {"processor": "a processor", "threads": 1}
STUDY = study()


def line(arm, seed, worst, **more):
    one = {"value": worst, "ci_low": max(0, worst - 0.1), "ci_high": min(1, worst + 0.1)}
    measures = dict.fromkeys(MEASURES, one) | {"equal_opportunity": dict.fromkeys(one)}
    groups = {"dark": {**one, "value": 0.9, "n": 40}, "light": {**one, "n": 20}}
    return {
        "arm": arm,
        "seed": seed,
        "cell_seconds": 2.0,
        "measures": measures,
        "groups": groups,
        "cells": groups,
        "membership": groups,
        **more,
    }


def methods(**worst):
    """Lines of three seeds, whose differences between methods vary a little from seed to seed."""
    noise = {"none": (0, 0.01, 0.02), "reweigh": (0.001, 0.011, 0.019), "diffusion": (0.002, 0.01, 0.021)}
    return [line(arm, seed, value + noise[arm][seed]) for seed in SEEDS for arm, value in worst.items()]


def told(lines, measure="Worst-group accuracy"):
    return next(v for v in debiasing.verdicts(Results(lines)) if v.text.startswith(measure))


def test_differences_are_paired_by_seed_with_student_s_interval():
    results = Results(methods(none=0.5, reweigh=0.6))
    found = results.difference("reweigh", "none", "worst_group_accuracy")
    pairs = np.array([10.1, 10.1, 9.9])
    low, high = stats.t.interval(0.95, 2, pairs.mean(), stats.sem(pairs))
    assert found.values == pytest.approx(pairs)
    assert (found.mean, found.low, found.high) == pytest.approx((pairs.mean(), low, high))
    assert results.found("reweigh", "worst_group_accuracy").sd > found.sd  # what seeds share is gone


def test_the_page_says_so_where_a_plain_method_wins():
    verdict = told(methods(none=0.5, reweigh=0.7, diffusion=0.6))
    assert verdict.mood == "bad"
    assert "a plain method wins, reweigh; diffusion less reweigh is -9.9" in verdict.text
    assert "less doing nothing, +10" in verdict.text


def test_and_where_diffusion_or_nobody_does():
    assert told(methods(none=0.5, reweigh=0.6, diffusion=0.7)).mood == "good"
    same = told(methods(none=0.5, reweigh=0.6, diffusion=0.5999))
    assert same.mood == ""
    assert "no difference between diffusion and reweigh" in same.text
    nothing = told(methods(none=0.7, reweigh=0.6, diffusion=0.6))
    assert "doing nothing wins; diffusion less doing nothing" in nothing.text


def test_where_less_is_better_the_words_turn():
    lines = methods(none=0.5, reweigh=0.6, diffusion=0.4)
    assert told(lines, "Demographic parity").mood == "good"
    assert told(lines).mood == "bad"


def test_one_seed_gives_no_verdict_and_no_interval():
    lines = [one for one in methods(none=0.5, reweigh=0.6, diffusion=0.7) if one["seed"] == 0]
    assert "one seed, so no verdict" in told(lines).text
    assert Found.of([1.0]).side() is None
    assert "±" not in "\n".join(as_lines(Results(lines), debiasing.NAMES, ()))


def test_a_method_that_was_skipped_says_why_and_plain_ones_are_compared():
    skipped = [{"arm": "diffusion", "seed": seed, "skipped": "no generator"} for seed in SEEDS]
    lines = [*methods(none=0.5, reweigh=0.6), *skipped]
    verdicts = debiasing.verdicts(Results(lines))
    assert verdicts[0].text == "Diffusion was not run: no generator."
    assert "a plain method helps; reweigh" in verdicts[1].text
    assert "\n".join(as_lines(Results(lines), debiasing.NAMES, verdicts)).count("no generator") == 1


def test_what_is_not_estimable_is_in_no_table():
    assert "equal_opportunity" not in Results(methods(none=0.5)).measures


def test_csv_and_json_have_every_number():
    lines = methods(none=0.5, reweigh=0.6)
    rows = list(csv.DictReader(io.StringIO(as_csv(lines))))
    assert len(rows) == len(lines) * (len(MEASURES) + 6)
    mine = [r for r in rows if (r["arm"], r["seed"], r["name"]) == ("reweigh", "1", "worst_group_accuracy")]
    assert float(mine[0]["value"]) == pytest.approx(0.611)
    assert next(r for r in rows if r["name"] == "equal_opportunity")["value"] == ""
    results = Results(lines)
    summary = json.loads(json.dumps(as_summary(results, debiasing.differences(results), ())))
    assert summary["arms"]["none"]["worst_group_accuracy"]["mean"] == pytest.approx(51)
    assert summary["differences"][0]["arm"] == "reweigh"


def deletions(fall):
    lines = []
    for seed in SEEDS:
        shift = 0.003 * seed * (-1) ** seed
        lines.append(line("before/plain", seed, 0.8))
        for forget in ("random", "concentrated", "adversary"):
            more = {"group": "light", "forgotten": 8, "how": "copies", "warnings": [f"{forget} falls on light"]}
            lost = fall if forget != "random" else 0
            lines.append(line(f"{forget}/plain", seed, 0.8 - lost + shift, **more))
            lines.append(line(f"{forget}/replenished", seed, 0.8 - lost / 2 + shift, **more))
    return lines


def test_a_deletion_that_hurts_is_called_so_and_one_at_random_is_not():
    texts = {v.text: v.mood for v in deletion_study.verdicts(Results(deletions(0.2)))}
    hurt = next(t for t in texts if "smallest group: worst-group accuracy" in t and t.startswith("Deleting 8"))
    assert "falls, -19.9 [" in hurt
    assert texts[hurt] == "bad"
    random = next(t for t in texts if "at random from all of S: worst-group accuracy" in t)
    assert "no change can be told" in random
    given_back = [t for t in texts if t.startswith("Replenishing after deleting 8 rows") and "smallest" in t]
    assert texts[given_back[0]] == "good"
    assert not any("accuracy of the smallest group" in t for t in texts)  # it is the worst one, so that is said above


def test_the_group_that_was_hit_has_a_verdict_of_its_own_where_another_is_the_worst():
    lines = [dict(one, group="dark") for one in deletions(0.2)]
    (text,) = [v.text for v in deletion_study.verdicts(Results(lines)) if "from the smallest group: acc" in v.text]
    assert text.endswith("accuracy of the smallest group (dark): no change can be told, +0.0 [0.0, 0.0] points.")


def test_a_deletion_is_compared_with_what_was_before_with_random_and_with_the_untreated_model():
    found = {(d.arm, d.column): d.other for d in deletion_study.differences(Results(deletions(0.2)))}
    assert found["adversary/replenished", "before"] == "before/plain"
    assert found["adversary/replenished", "random, treated alike"] == "random/replenished"
    assert found["adversary/replenished", "untreated"] == "adversary/plain"
    assert ("random/plain", "random, treated alike") not in found


def pages(tmp_path):
    """Both reports with their lines laid in the place of results."""
    skipped = {"arm": "group_dro", "seed": 0, "skipped": "no such thing <b>", "cell_seconds": 0.1}
    one = Comparison(STUDY, StudySettings(), Cells(tmp_path), no_source(tmp_path))
    two = Deletion(STUDY, StudySettings(), Cells(tmp_path), no_source(tmp_path))
    return [
        report_of(one, [*methods(none=0.5, reweigh=0.7, diffusion=0.6), skipped], MACHINE),
        report_of(two, deletions(0.2), MACHINE),
    ]


@pytest.mark.parametrize(
    ("strangers", "lines", "said"), [(300, {"diffusion": 0.6}, 1), (300, {}, 0), (0, {"diffusion": 0.6}, 0)]
)
def test_the_page_says_that_a_public_generator_has_learned_what_plain_methods_have_not(
    tmp_path, strangers, lines, said
):
    grid = Comparison(STUDY, StudySettings(), Cells(tmp_path), types.SimpleNamespace(strangers=strangers))
    notes = " ".join(report_of(grid, methods(none=0.5, **lines), MACHINE).notes)
    assert notes.count("a pool of 300 rows outside S, which no other method has") == said


def test_the_page_tells_how_many_test_rows_the_smallest_group_has(tmp_path):
    grid = Comparison(STUDY, StudySettings(), Cells(tmp_path), no_source(tmp_path))
    codes, names = STUDY.groups(STUDY.test)
    sizes = {name: int((codes == i).sum()) for i, name in enumerate(names)}
    fewest = min(sizes, key=sizes.get)
    facts = dict(report_of(grid, methods(none=0.5), MACHINE).facts)
    assert facts["test rows"] == f"{len(STUDY.test)}, {sizes[fewest]} of them {fewest}"


def test_the_pages_stand_alone_and_are_the_same_each_time(tmp_path):
    for number, report in enumerate(pages(tmp_path)):
        write_study_page(tmp_path / "one.html", report)
        text = (tmp_path / "one.html").read_text()
        if not number:
            write_study_page(tmp_path / "two.html", report)
            assert text == (tmp_path / "two.html").read_text()
        assert not re.search(r"https?://|src=\"(?!data:)", text)
        assert f"of {report.cells} cells are done" in text
        assert text.count("<svg") == 5 + 2 * 2  # measures that can be estimated, groups, attacks on them
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(ids) == len(set(ids))
        for verdict in report.verdicts:
            assert verdict.text.split(";")[0].replace("'", "&#39;") in text
        assert "Equal opportunity difference is not estimable" in text
    text = (tmp_path / "two.html").read_text()
    assert "no such thing &lt;b&gt;" in text
    assert 'class="verdict bad">Worst-group accuracy: a plain method wins' in text
    assert set(debiasing.NAMES) == set(METHODS)
