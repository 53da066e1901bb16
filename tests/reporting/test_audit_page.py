"""Audits in words: verdicts, tables, gates, and the page with its curves."""

import json

import numpy as np
import pytest

from tests.reporting.test_report import Page
from tfpdu.audit import ATTACKS as KNOWN
from tfpdu.audit import BASELINES, AuditSettings, audit_rows
from tfpdu.audit.protocols import Outcome
from tfpdu.common.files import write_json
from tfpdu.reporting import write_report
from tfpdu.reporting.attacks import ATTACKS, as_lines, csv_table, numbers, p_text, stand_out, verdict
from tfpdu.reporting.audit_page import AuditReport, write_audit_page


def outcome(attack, shift, part=None, n=300, protocol="holdout"):
    rng = np.random.default_rng([len(attack), n])
    return "members", Outcome(attack, protocol, rng.normal(shift, 1, n), rng.normal(0, 1, n), shift / 2, slice=part)


@pytest.fixture(scope="module")
def outcomes():
    return [
        outcome("blind", 0.0),
        outcome("m_loss", 1.0),
        outcome("m_mean", -1.0),
        outcome("my_own", 0.0),
        outcome("m_loss", 2.0, "label=cat", n=50),
        outcome("my_own", 1.5, "label=cat", n=50),
        outcome("m_loss", 0.0, "label=dog", n=50),
    ]


@pytest.fixture(scope="module")
def rows(outcomes):
    return audit_rows(outcomes, AuditSettings(fprs=(0.1, 0.001)))


def test_every_attack_has_a_name_and_an_explanation():
    assert set(KNOWN) | set(BASELINES) <= set(ATTACKS)
    assert len({name for name, _ in ATTACKS.values()}) == len(ATTACKS)


def row(low, high, p=0.001):
    return {"auc_ci_low": low, "auc_ci_high": high, "p_holm": p}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (row(0.51, 0.6), "leak"),
        (row(0.4, 0.49), "leak in reverse"),
        (row(0.4, 0.6), "nothing found"),
        (row(0.51, 0.6, 0.2), "leak, not after Holm"),
        (row(0.4, 0.49, 0.2), "leak in reverse, not after Holm"),
        (row(0.51, 0.6, None), "leak (in-sample)"),
        ({"auc_ci_low": 0.4, "auc_ci_high": 0.45}, "leak in reverse"),  # of a version without p-values
        ({}, ""),
    ],
)
def test_verdicts_follow_the_interval_and_holm(given, words):
    assert verdict(given) == words


def test_the_table_says_unresolvable_and_which_way_the_leak_goes(rows):
    lines = as_lines(rows)
    assert lines[0] == "members: 300 against 300 non-members, holdout"
    by_attack = {line.split("  ")[1]: line for line in lines[2:6]}
    assert by_attack["M-Loss"].endswith("leak")
    assert by_attack["M-Mean"].endswith("leak in reverse")
    assert by_attack["blind"].endswith("nothing found")
    assert by_attack["my_own"].endswith("nothing found")
    assert by_attack["M-Loss"].count("unresolvable") == 1  # 300 rows resolve 10 % and not 0.1 %
    assert f"{100 * rows[1]['success_rate']:.1f}% (" in by_attack["M-Loss"]


def test_a_slice_is_told_once_by_its_strongest_attack(rows):
    assert [(found["slice"], found["attack"]) for found in stand_out(rows)] == [("label=cat", "m_loss")]
    assert "1 of 2 slices stand out after Holm’s correction, each by its strongest attack:" in as_lines(rows)


def test_gates_find_numbers_by_attack_population_and_slice(rows):
    found = numbers(rows)
    assert found["m_loss.ci_low"] == found["members.m_loss.ci_low"] == [rows[1]["ci_low"]]
    assert found["label:cat.m_loss.auc"] == [rows[4]["auc"]]
    assert found["m_loss.tpr_at_0.001"] == [None]
    assert found["m_loss.tpr_at_0.1"] == [rows[1]["tpr_at_fpr"]["0.1"]]


def test_a_gate_means_holdout_where_there_are_several_protocols():
    both = [outcome("m_loss", 1.0, protocol=name) for name in ("holdout", "yu2021")]
    rows = audit_rows(both, AuditSettings())
    assert numbers(rows)["m_loss.auc"] == [rows[0]["auc"]]
    assert numbers(rows)["yu2021.m_loss.auc"] == [rows[1]["auc"]]
    alone = audit_rows(both[1:], AuditSettings())
    assert numbers(alone)["m_loss.auc"] == [alone[0]["auc"]]


def test_csv_has_a_line_a_row_and_a_column_a_rate(rows):
    head, *lines = csv_table(rows)
    assert len(lines) == len(rows)
    assert head[-4:] == ["slice", "tpr_at_fpr_0.1", "tpr_at_fpr_0.001", "verdict"]
    assert dict(zip(head, lines[1], strict=True))["tpr_at_fpr_0.001"] == "unresolvable"
    assert float(dict(zip(head, lines[1], strict=True))["auc"]) == rows[1]["auc"]
    assert lines[4][-4] == "label=cat"


@pytest.mark.parametrize(("p", "text"), [(None, "–"), (0.0004, "<0.001"), (0.0312, "0.031"), (1.0, "1.000")])
def test_p_values_are_short(p, text):
    assert p_text(p) == text


def test_the_page_stands_alone_and_shows_curves_and_scores(tmp_path, rows, outcomes):
    for name in ("a.html", "b.html"):
        report = AuditReport("größer <model>", [("seed", "0")], ["mind <this>"], rows, outcomes)
        write_audit_page(tmp_path / name, report)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.html").read_text(encoding="utf-8")
    page = Page(text)  # asserts that elements nest
    assert page
    assert "größer &lt;model&gt;" in text
    assert "mind &lt;this&gt;" in text
    assert "http" not in text
    assert text.count("<svg") == 1 + 3  # ROC curves, and scores of all but the blind attack
    assert "leak in reverse" in text
    assert "your own attack" in text
    assert "1 of 2 slices stand out" in text
    assert text.count("unresolvable") == 4


def test_a_blind_attack_off_one_half_is_a_warning(tmp_path, outcomes):
    wrong = [outcome("blind", 1.0), *outcomes[1:2]]
    for name, chosen in (("wrong.html", wrong), ("right.html", outcomes)):
        report = AuditReport("model", [], [], audit_rows(chosen, AuditSettings()), chosen)
        write_audit_page(tmp_path / name, report)
    assert "Take the other numbers for no evidence" in (tmp_path / "wrong.html").read_text(encoding="utf-8")
    assert "Take the other numbers for no evidence" not in (tmp_path / "right.html").read_text(encoding="utf-8")


def test_equal_and_infinite_scores_can_be_drawn(tmp_path):
    same = "members", Outcome("correctness", "holdout", np.ones(20), np.ones(20), np.inf)
    far = "members", Outcome("mine", "holdout", np.array([np.inf] * 20), np.linspace(-1, 1, 20), 0.0)
    chosen = [same, far]
    write_audit_page(tmp_path / "a.html", AuditReport("model", [], [], audit_rows(chosen, AuditSettings()), chosen))
    assert (tmp_path / "a.html").read_text(encoding="utf-8").count("<svg") == 3


# ---- the report of a run ---------------------------------------------------------------------


def attacks_section(run):
    text = write_report(run.directory).read_text(encoding="utf-8")
    Page(text)
    return text[text.index('<section id="attacks">') : text.index('<section id="guaranteed">')]


def test_the_report_tells_reverse_leaks_p_values_and_slices_apart(made_up_run):
    run = made_up_run(done=2).everything()
    path = run.directory / "audit.json"
    audit = json.loads(path.read_text())
    assert "Leak in reverse" not in attacks_section(run).split("<details>")[0]
    tested = [r | {"p_value": 0.5, "p_holm": 1.0, "reverse": False} for r in audit]
    tested[0] |= {"attack": "rmia_offline", "auc": 0.3, "auc_ci_low": 0.2, "auc_ci_high": 0.4, "p_holm": 0.01}
    part = tested[1] | {"slice": "label=cat", "auc": 0.8, "auc_ci_low": 0.7, "auc_ci_high": 0.9, "p_holm": 0.0001}
    write_json(path, [*tested, part, part | {"slice": "label=dog", "p_holm": 1.0}])
    text = attacks_section(run)
    head, measures, slices = text.split("<details>")
    assert "Leak in reverse: RMIA, offline on" in head
    assert "label=cat" not in head + measures
    assert "label=cat" in slices
    assert "label=dog" not in slices
    assert "1 of 2 slices stand out" in slices
    assert "models trained without the row" in measures
    assert "&lt;0.001" in slices


def test_a_chart_draws_no_more_attacks_than_it_has_colours(made_up_run):
    run = made_up_run(done=2).everything()
    path = run.directory / "audit.json"
    audit = json.loads(path.read_text())
    many = [r | {"attack": f"own_{k}", "success_rate": 0.5 + k / 100} for r in audit for k in range(9)]
    write_json(path, [r for r in many if r["protocol"] == "holdout"])
    text = attacks_section(run)
    assert "The 7 attacks that were best at any time are drawn, of 9." in text
    legend = text[text.index('<ul class="legend">') : text.index("</ul>")]
    assert "own_8" in legend
    assert "own_1" not in legend
