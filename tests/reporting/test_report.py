"""report.html: its numbers are the files' numbers, it stands alone, and it copes with whatever is not there."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.common.files import append_json_line, write_json, write_npz
from tfpdu.reporting import write_report
from tfpdu.reporting.measurements import Measured, measurements
from tfpdu.reporting.run_data import FILES, read_run
from tfpdu.reporting.summary import summarise

VOID = {"meta", "img", "br", "hr", "link", "input", "use", "path", "source"}


class Page(HTMLParser):
    """Checks that elements nest, and collects attributes, ids, `<data>` values by enclosing id, and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.values: dict[str, list[float]] = {}
        self.rows: dict[str, list[float | None]] = {}
        self.row: str | None = None
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if found.get("id"):
            self.ids.append(found["id"])
        if tag == "data":
            for _, name in self.open:
                if name:
                    self.values.setdefault(name, []).append(float(found["value"]))
            if self.row:
                self.rows[self.row][-1] = float(found["value"])
        if tag == "tr":
            self.row = found.get("data-key")
            self.rows.setdefault(self.row or "", [])
        if tag == "td" and self.row:
            self.rows[self.row].append(None)
        if tag not in VOID:
            self.open.append((tag, found.get("id")))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if not any(tag in ("style", "script") for tag, _ in self.open):
            self.text += data


def report(run) -> Page:
    return Page(write_report(run.directory).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_builder):
    run = run_builder(tmp_path_factory.mktemp("finished") / "run").everything()
    return run, write_report(run.directory).read_text(encoding="utf-8")


def test_every_headline_number_is_the_number_in_the_files(finished):
    run, text = finished
    values = Page(text).values
    bias = json.loads((run.directory / "bias.json").read_text())
    events = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "iteration"]
    audit = json.loads((run.directory / "audit.json").read_text())

    def strongest(iteration):
        rows = [r for r in audit if r["iteration"] == iteration and r["population"] == "all_originals"]
        return max((r for r in rows if r["protocol"] == "holdout"), key=lambda r: r["success_rate"])

    expected = {
        "kl-before": [bias["kl_before"]],
        "kl-after": [bias["kl_after"]],
        "added": [bias["n_added"]],
        "test-first": [steps[0]["test_accuracy"]],
        "test-last": [steps[10]["test_accuracy"]],
        "baseline": [next(e for e in events if e["event"] == "baseline")["test_accuracy"]],
        "originals-drawn": [5000],
        "originals-left": [0],
        "rows": [steps[10]["n_original"] + steps[10]["n_synthetic"]],
        "iterations": [10],
        "shards": [5],
        "attack-first": [strongest(0)["success_rate"]],
        "attack-last": [strongest(10)["success_rate"]],
        "attack-interval": [strongest(10)["ci_low"], strongest(10)["ci_high"]],
    }
    assert {name: values[name] for name in expected} == expected


def test_capacities_stand_beside_the_largest_step(finished):
    _, text = finished
    part = text[text.index("How many rows may go at once") : text.index('id="files"')]
    values = [float(value) for value in re.findall(r'<data value="([\d.]+)">', part)]
    assert values == [500, 5000, 11_186_112, 5000, 1000, 0.2, 86, 1]  # n / d^(1/4) and n / d^(1/2) of a ResNet18


def test_work_is_the_sum_of_the_measured_stages(finished):
    run, text = finished
    events = [json.loads(line) for line in (run.directory / "metrics.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "iteration"]
    work = sum(e["seconds"] for e in events if e["event"] in ("generator", "augment")) + 170.2 + 186.4
    work += sum(e["unlearn_seconds"] + e["audit_seconds"] for e in steps)
    assert Page(text).values["work"] == pytest.approx([work])


def test_table_of_iterations_is_table1_csv(finished):
    run, text = finished
    rows = Page(text).rows
    lines = (run.directory / "table1.csv").read_text().splitlines()
    columns = lines[0].split(",")
    for index, name in enumerate(columns[1:], 1):
        assert rows[name] == [float(line.split(",")[index]) for line in lines[1:]], name
    assert rows["n_original"] == [5000 - 500 * t for t in range(11)]
    assert rows["retain_accuracy_originals"][-1] is None


def test_sentence_says_the_same_as_the_cards(finished):
    words = " ".join(Page(finished[1]).text.split())
    assert "1,080 added rows took the data bias from 0.0365 to 0 nats." in words
    assert "After 10 unlearning steps no original is left" in words


def test_page_stands_alone(finished):
    page = Page(finished[1])
    links = [value for _, key, value in page.attributes if key in ("src", "href", "srcset", "action", "data", "poster")]
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", finished[1])
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]


def test_page_is_well_formed_and_its_ids_are_unique(finished):
    page = Page(finished[1])  # asserts the nesting
    assert len(set(page.ids)) == len(page.ids)
    assert finished[1].startswith("<!DOCTYPE html>")
    targets = re.findall(r'(?:href="#|url\(#)([^")]+)', finished[1])
    assert set(targets) <= set(page.ids)


def test_every_picture_and_table_is_described(finished):
    page = Page(finished[1])
    pictures = page.tags.count("img")
    assert pictures == 20
    assert len([v for tag, key, v in page.attributes if tag == "img" and key == "alt" and v]) == pictures
    charts = [v for tag, key, v in page.attributes if tag == "svg" and key == "aria-label"]
    assert len(charts) == page.tags.count("svg") == 9
    assert "animal, dark: 30.4% before, 25.0% after, prior 25.0%" in charts[0]
    assert page.tags.count("caption") == page.tags.count("table")


def test_same_files_give_the_same_bytes(finished):
    run, text = finished
    assert write_report(run.directory).read_text(encoding="utf-8") == text


def test_report_can_be_made_from_a_moved_directory(finished, tmp_path):
    run, text = finished
    shutil.copytree(run.directory, tmp_path / "elsewhere")
    assert write_report(tmp_path / "elsewhere").read_text(encoding="utf-8") == text
    assert str(run.directory) not in text


def test_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="no such directory"):
        write_report(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_one_missing_file_is_said_and_the_rest_is_shown(made_up_run, name):
    run = made_up_run(done=2).everything()
    (run.directory / name).unlink()
    page = report(run)
    assert name in page.text
    assert len(page.text) > 5000


@pytest.mark.parametrize("name", FILES)
def test_one_file_alone_is_enough_for_a_page(made_up_run, name):
    run = made_up_run(done=2).everything()
    for other in FILES:
        if other != name:
            (run.directory / other).unlink()
    page = report(run)
    assert "Not there yet" in page.text or "so far" in page.text


@pytest.mark.parametrize("name", FILES)
def test_damaged_file_is_named_and_the_rest_is_shown(made_up_run, name):
    run = made_up_run(done=2).everything()
    (run.directory / name).write_bytes(b"{broken\n\xff\xfe\n")
    page = report(run)
    assert f"Cannot be read: {name}" in page.text


def test_run_in_progress_says_how_far_it_is(made_up_run):
    run = made_up_run(done=3).everything()
    page = report(run)
    assert "This run is in progress: 3 of 10 iterations are done." in page.text
    assert page.values["originals-left"] == [3500]
    assert "still above guessing" in page.text


@pytest.mark.parametrize(
    ("auc", "lineage", "words"),
    [
        (0.62, {"population": "originals"}, ("all originals, denoising loss", "may carry them")),
        (0.51, {"population": "forgotten", "iteration": 2}, ("forgotten by iteration 2", "no trace of them")),
        (0.51, {"population": "forgotten", "round": 1, "after_iteration": 3}, ("forgotten by iteration 3",)),
    ],
)
def test_it_says_by_which_path_something_is_left(made_up_run, auc, lineage, words):
    run = made_up_run(done=3).everything()
    assert "by which path" not in report(run).text
    event = {"event": "traces", "auc": auc, "ci_low": auc - 0.04, "ci_high": auc + 0.04, "rows": 400, "strangers": 400}
    with open(run.directory / "metrics.jsonl", "a") as file:
        file.write(json.dumps(event | lineage) + "\n")
    page = report(run)
    assert "What is left, and by which path" in page.text
    assert all(part in page.text for part in words)
    assert measurements(read_run(run.directory))["generator_auc"] == Measured(auc, auc - 0.04, auc + 0.04)


def test_iteration_that_was_recorded_twice_is_shown_once_as_last_written(made_up_run):
    run = made_up_run(done=2).everything()
    again = [e for e in run.events() if e["event"] == "iteration"][2] | {"test_accuracy": 0.125}
    with open(run.directory / "metrics.jsonl", "a") as file:
        file.write(json.dumps(again) + "\n")
    (run.directory / "table1.csv").unlink()
    page = report(run)
    assert page.rows["test_accuracy"][-1] == 0.125
    assert len(page.rows["test_accuracy"]) == 3
    assert page.values["test-last"] == [0.125]


@pytest.mark.parametrize(
    ("lineage", "words"),
    [
        ("keep", "the pipeline as a whole has no deletion guarantee"),
        ("public", "its samples carry nothing of them"),
        ("strict", "Each deletion retires the generator"),
        (None, "assume that the samples carry the originals"),
    ],
)
def test_words_on_the_guarantee_follow_the_lineage(made_up_run, lineage, words):
    run = made_up_run(done=1, lineage=lineage).everything()
    page = report(run)
    every = ("the pipeline as a whole has no", "samples carry nothing of them", "Each deletion retires", "assume that")
    assert words in page.text
    assert sum(start in page.text for start in every) == 1
    assert ("taken as given" in page.text) == (lineage in ("keep", None))
    assert "ε = 0 and δ = 0" in page.text


@pytest.mark.parametrize("method", ["none", "oversample", "undersample", "reweigh"])
def test_run_without_a_generator_makes_no_claim_about_one(made_up_run, method):
    run = made_up_run(done=1)
    run.metrics()
    run.config(augment={"method": method})
    page = report(run)
    assert f"augment.method = {method}" in page.text
    assert "generator of this run" not in page.text
    assert "generator’s lineage" not in page.text
    assert "generator was trained on them" not in page.text
    assert "by as many synthetic rows" not in page.text


def test_a_run_that_ended_before_its_last_iteration_says_why_and_is_not_in_progress(made_up_run):
    run = made_up_run(done=8)
    run.metrics()
    run.config(augment={"method": "none"})
    assert "in progress" in report(run).text
    reason = "40 originals would be left"
    append_json_line(run.directory / "metrics.jsonl", {"event": "stopped", "iteration": 9, "reason": reason})
    text = report(run).text
    assert "in progress" not in text
    assert f"ended after iteration 8: {reason}" in text


@pytest.mark.parametrize("by_config", [True, False])
def test_originals_can_be_left_out(made_up_run, by_config):
    run = made_up_run(done=1).everything()
    full = write_report(run.directory).read_text()
    if by_config:
        run.config(report={"originals": False})
    text = write_report(run.directory, show_originals=by_config).read_text()
    assert full.count("data:image/png") == 20
    assert text.count("data:image/png") == 10
    assert "Originals are not shown" in text
    assert 'alt="originals' not in text


def test_names_from_the_user_are_escaped(made_up_run):
    evil, umlaut = "<script>alert('x')</script>", 'Größe & "Maß" $x$'
    run = made_up_run(done=1).everything()
    run.config(data={"name": evil})
    run.showcase(names=(evil, umlaut))
    bias = json.loads((run.directory / "bias.json").read_text())
    entry = bias["attributes"].pop("superclass")
    write_json(run.directory / "bias.json", bias | {"attributes": {evil: entry | {"values": [umlaut, evil]}}})
    rows = json.loads((run.directory / "fairness.json").read_text())
    write_json(run.directory / "fairness.json", [r | {"attribute": umlaut, "group": evil + r["group"]} for r in rows])
    audit = json.loads((run.directory / "audit.json").read_text())
    write_json(run.directory / "audit.json", [r | {"attack": evil} for r in audit])
    text = write_report(run.directory, title=evil).read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text.lower()
    assert evil in page.text
    assert umlaut in page.text


def test_many_joint_cells_are_cut_in_the_chart_and_not_in_the_table(made_up_run):
    run = made_up_run(done=1).everything()
    cells = 60
    before = np.linspace(1, 2, cells) / np.linspace(1, 2, cells).sum()
    names = [f"c{k}, v" for k in range(cells)]
    shares = {"before": before.tolist(), "after": [1 / cells] * cells, "prior": [1 / cells] * cells}
    counts = {"counts_before": [10] * cells, "counts_after": [20] * cells}
    entry = {**shares, **counts, "values": names, "kl_before": 0.02, "kl_after": 0.0}
    bias = json.loads((run.directory / "bias.json").read_text())
    write_json(run.directory / "bias.json", bias | {"attributes": {"a x b": entry}})
    text = write_report(run.directory).read_text()
    assert "the 24 cells furthest from the prior of 60" in text
    assert len(re.findall(r'<th scope="row">c\d', text)) == cells
    assert "c0, v:" in text
    assert "c30, v:" not in text  # near the prior


def test_infinite_divergence_is_shown_as_such(made_up_run):
    run = made_up_run(done=1).everything()
    bias = json.loads((run.directory / "bias.json").read_text())
    write_json(run.directory / "bias.json", bias | {"kl_before": float("inf")})
    assert "from ∞ to 0 nats" in " ".join(report(run).text.split())


def test_empty_slots_and_grey_pictures_are_drawn(made_up_run):
    run = made_up_run(done=1).everything()
    synthetic = np.zeros((2, 3, 8, 8, 1), np.uint8)
    synthetic[0, 0] = 200
    write_npz(run.directory / "samples/showcase.npz", synthetic=synthetic, label_names=np.array(["0", "1"]))
    page = report(run)
    assert page.tags.count("img") == 2


def test_slices_of_the_audit_do_not_reach_the_headline(made_up_run):
    run = made_up_run(done=1).everything()
    audit = json.loads((run.directory / "audit.json").read_text())
    before = report(run).values["attack-first"]
    extra = audit[0] | {"slice": "worst class", "success_rate": 0.99}
    write_json(run.directory / "audit.json", [*audit, extra])
    assert report(run).values["attack-first"] == before


@pytest.mark.parametrize(
    ("floor", "words"), [(0.0, "The quality gate was switched off"), (0.5, "has not been reached")]
)
def test_absent_quality_gate_is_explained(made_up_run, floor, words):
    run = made_up_run(done=1)
    for event in run.events():
        if event["event"] != "quality_gate":
            append_json_line(run.directory / "metrics.jsonl", event)
    run.config(generator={"lineage": "keep", "floor": floor})
    page = report(run)
    assert words in page.text
    assert "gate passed" not in page.text


def test_failed_quality_gate_is_said(made_up_run):
    run = made_up_run()
    run.config()
    gate = next(event for event in run.events() if event["event"] == "quality_gate")
    append_json_line(run.directory / "metrics.jsonl", gate | {"passed": False, "realised": {}})
    page = report(run)
    assert "Quality gate not passed." in page.text
    assert "41.3% on real pictures" in page.text


def test_what_the_generator_remembers_stands_beside_what_chance_gives(made_up_run):
    text = report(made_up_run(done=2).everything()).text
    for number in ("0.4%", "53.8%", "0.553", "0.517–0.588", "0.0712"):
        assert number in text, number
    assert "No sample of this run had to be drawn again as a near-copy." in text


def test_candidates_and_what_their_critics_refused_are_told(made_up_run):
    run = made_up_run(done=1)
    run.everything()
    events = run.events()
    told = next(event for event in events if event["event"] == "generator")
    made = next(event for event in events if event["event"] == "augment" and event["iteration"] == 1)
    append_json_line(run.directory / "metrics.jsonl", told | {"candidates": 4, "critics": ["label", "parity"]})
    append_json_line(run.directory / "metrics.jsonl", made | {"candidates": 1105, "kept_unlike": 38})
    text = report(run).text
    assert "Up to 4 candidates were drawn for each image, until critics of label, parity saw in it" in text
    assert "1,105 in all; images kept although they never did: 38" in text
    assert "candidates were drawn" not in report(made_up_run(done=1).everything()).text


def test_what_each_deletion_round_made_and_took_is_counted(made_up_run):
    run = made_up_run(done=1).everything()
    made = next(event for event in run.events() if event["event"] == "augment" and event["iteration"] == 1)
    before = summarise(read_run(run.directory)).work_seconds
    for number in (1, 2):
        key = {"iteration": None, "round": number, "after_iteration": 1}
        append_json_line(run.directory / "metrics.jsonl", made | key | {"seconds": 10.0, "requested": 7})
        append_json_line(run.directory / "metrics.jsonl", {"event": "deletion", **key, "unlearn_seconds": 100.0})
    assert summarise(read_run(run.directory)).work_seconds == pytest.approx(before + 220)
    requested = sum(event["requested"] for event in run.events() if event["event"] == "augment") + 14
    assert f"It was asked for {requested:,} rows in all" in report(run).text


def test_a_generator_that_was_made_before_the_run_is_no_work_of_it(made_up_run):
    run = made_up_run(done=1).everything()
    path = run.directory / "metrics.jsonl"
    told = next(event for event in run.events() if event["event"] == "generator")
    own = summarise(read_run(run.directory)).work_seconds
    path.write_text("".join(json.dumps(e) + "\n" for e in run.events() if e["event"] != "generator"))
    append_json_line(path, told | {"pretrained": "cifar10"})
    assert own - summarise(read_run(run.directory)).work_seconds == pytest.approx(told["seconds"])
    assert "The generator, cifar10, was made before this run. It has" in report(run).text


def test_a_private_generator_is_told_of_with_its_figures_and_their_reach(made_up_run):
    run = made_up_run(done=10)
    run.everything()
    figures = {"epsilon": 2.0, "delta": 1e-6, "noise_multiplier": 1.1, "clip_norm": 1.0, "sampling_rate": 0.02}
    figures |= {"expected_batch": 100.0, "steps": 900, "accountant": "pld", "neighbours": "add or remove one row"}
    event = {"event": "generator", "lineage": "keep", "private": figures, "rows": 5000}
    append_json_line(run.directory / "metrics.jsonl", event)
    text = report(run).text
    assert "trained with differential privacy: epsilon 2 per deleted record" in text
    assert "For the 5000 deleted records together nothing is guaranteed" in text
    assert "The generator remembers" not in text
