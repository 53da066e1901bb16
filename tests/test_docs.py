"""The numbers on the pages are those of the files in docs/results."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import forgetting, overfitted, private_classifier, serving, unlearning
from tfpdu.common import files
from tfpdu.reporting import debiasing, deletion_study, group_study
from tfpdu.reporting.formatting import duration

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"


def memory(result: dict[str, Any]) -> list[str]:
    keys = ("peak_rss_mb", "peak_anonymous_mb", "peak_data_mb")
    return [f"| {name} | {' | '.join(f'{stage[key]}' for key in keys)} |" for name, stage in result["stages"].items()]


def generator(result: dict[str, Any]) -> list[str]:
    ratios = [seed["cas_ratio"] for seed in result["seeds"]]
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} seeds" if len(ratios) > 1 else "one seed"
    ratio = f"{result['cas_ratio']:.3f} ({spread})"
    learned, real = result["generator"], f"{100 * result['copy_ratio_real']:.1f}".replace(".0", "")
    ways = {"candidates": 1} | learned["settings"]  # older cards knew no candidates
    asked = f"{ways['guidance']}, {ways['steps']}, {ways['candidates']}"
    classifier = {"scratch": "from scratch", "transferred": "transferred"}[result["classifier"]]
    return [
        f"| {learned['images_seen']:,} | {asked} | {classifier} | {ratio} |"
        f" {result['kid']:.3f} | {result['precision']:.2f}, {result['recall']:.2f} |"
        f" {100 * result['copy_ratio']:.1f} % ({real} %) |"
    ]


def sampling(lines: list[dict[str, Any]]) -> list[str]:
    first = lines[0]
    return [
        f"at {first['images_seen']:,} images; {first['samples']:,} real rows taught it {100 * first['cas_real']:.1f} %",
        *(
            f"| {line['guidance']} | {line.get('candidates', 1)} | {100 * line['cas']:.1f} % | {line['kid']:.3f} |"
            f" {line['precision']:.2f}, {line['recall']:.2f} | {line['samples_per_second']:.0f} |"
            for line in lines
        ),
    ]


def generator_speed(result: dict[str, Any]) -> list[str]:
    training, sampling = (result[f"{name}_images_per_second"] for name in ("training", "sampling"))
    return [
        f"{result['parameters']:,} weights",
        f"training takes {training} images a second, {100 * result['training_share_of_peak']:.0f} %",
        f"gives {sampling} images a second, {100 * result['sampling_share_of_peak']:.0f} %",
        f"{result['memory_gigabytes_late']} GB",
    ]


def unlearning_cost(result: dict[str, Any]) -> list[str]:
    worst = f"no line\nis further than {100 * result['largest_deviation']:.1f} % from theory"
    return [*map(unlearning.row, result["lines"]), worst]


def accuracy_of_forgetting(lines: list[dict[str, Any]]) -> list[str]:
    return forgetting.table_of(forgetting.summary(lines))


def latencies(result: dict[str, Any]) -> list[str]:
    return serving.table(result["rows"])


def overfitted_audits(result: dict[str, Any]) -> list[str]:
    right = [
        f"({100 * result['test_accuracy']:.1f} % of the test",
        f"right on {100 * result['ensemble_test_accuracy']:.1f} %",
    ]
    return [*overfitted.table(result), *right]


def cost_of_an_audit(result: dict[str, Any]) -> list[str]:
    return [
        f"took {result['ratio']:.2f} times as long as the model's answers alone",
        f"{1024 * result['growth_gb']:.0f} MB to the memory",
        f"{result['asked']:,} queries",
    ]


def study(names: Mapping[str, str], columns: Sequence[str]) -> Callable[[dict[str, Any]], list[str]]:
    """Of `tfpdu debiasing`: a row an arm, and every verdict."""

    def words(result: dict[str, Any]) -> list[str]:
        results = group_study.Results(result["cells"])
        rows = [[names[arm], *(group_study.cell(results.found(arm, key)) for key in columns)] for arm in results.arms]
        return [*(f"| {' | '.join(row)} |" for row in rows), *(f"- {text}" for text in result["summary"]["verdicts"])]

    return words


def cost_of_adversaries(result: dict[str, Any]) -> list[str]:
    return [f"{result['ratio']:.2f} times the {result['passes']:,} forward and backward passes"]


def lineages(result: dict[str, Any]) -> list[str]:
    """Of `tfpdu results --plan=lineage`: a row a generator."""
    names = ("test_accuracy@last", "success/strongest@last", "generator_auc")
    rows = []
    for variant in result["variants"].values():
        measures, seeds = variant["measures"], len(variant["seeds"])
        left = f"{measures['originals@last']['value']:.0f}"
        rows.append(" | ".join([variant["words"], str(seeds), left, *(share(measures[name]) for name in names)]))
    return [f"| {row} |" for row in rows]


def share(number: dict[str, Any]) -> str:
    """A share with its interval, as the pages have it."""
    value, low, high = (f"{100 * min(number[key], 1):.1f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def table1(result: dict[str, Any]) -> list[str]:
    """Of `tfpdu results --plan=table1`: a row a variant, and how its numbers compare with the paper's."""
    columns = [*(f"test_accuracy@{at}" for at in ("before", 0, 1, 5, 10)), "retain_accuracy@10"]
    lines = []
    for variant in result["variants"].values():
        measures, rows = variant["measures"], [row for row in variant["paper"] if row["place"].startswith("Table I,")]
        cells = [variant["words"], str(len(variant["seeds"])), *(share(measures[name]) for name in columns)]
        tally = Counter(row["verdict"] for row in rows)
        told = ", ".join(f"{tally[verdict]} {verdict}" for verdict in ("better", "reproduced", "worse"))
        longest = max(measures[f"step_seconds@{t}"]["value"] for t in range(1, 11))
        lines += [f"| {' | '.join(cells)} |", f"of its {len(rows)} numbers in Table I: {told}"]
        lines.append(f"the slowest step took {duration(longest)} on average, a run {minutes(variant['seconds'])}")
        lines += [
            f"{words} from {percent(measures[f'{group}@after'])} to {percent(measures[f'{group}@last'])} %"
            for words, group in (
                ("animals fall", "accuracy/superclass=animal"),
                ("vehicles", "accuracy/superclass=vehicle"),
            )
        ]
        start, end = "accuracy/label=", "@last"
        found = [
            (m["value"], name[len(start) : -len(end)])
            for name, m in measures.items()
            if name.startswith(start) and name.endswith(end)
        ]
        (low, worst), (next_low, second), *_ = sorted(found)
        lines.append(f"{worst} and {second}, to {100 * low:.1f} and {100 * next_low:.1f} %")
    return lines


def percent(number: dict[str, float]) -> str:
    return f"{100 * number['value']:.1f}"


def minutes(seconds: list[float]) -> str:
    low, high = (f"{bound / 60:.0f}" for bound in (min(seconds), max(seconds)))
    return f"{low} minutes" if low == high else f"{low} to {high} minutes"


def figure12(result: dict[str, Any]) -> list[str]:
    """Of `tfpdu results --plan=figure12`: a row a variant and attack."""
    attacks = {"moments": "Moments", "m_mean": "M-Mean", "m_loss": "M-Loss"}
    lines = []
    for variant in result["variants"].values():
        measures = variant["measures"]
        for attack, words in attacks.items():
            cells = [share(measures[f"success/{attack}@{t}"]) for t in (0, 1, 5, 10)]
            lines.append(f"| {variant['words']} | {words} | {' | '.join(cells)} |")
        area = measures["generator_auc"]
        lines.append(f"AUC {area['value']:.2f}, {area['low']:.2f} to {area['high']:.2f}")
    return lines


def figures6to9(result: dict[str, Any]) -> list[str]:
    """Of `tfpdu results --plan=figures6to9`: a row a variant, and what synthetic rows give more than copies do."""
    columns = ("test_accuracy@before", "test_accuracy@0", "worst/superclass@before", "worst/superclass@after",
               "worst/label@before", "worst/label@after")  # fmt: skip
    lines = [
        f"| {v['words']} | {len(v['seeds'])} | {' | '.join(share(v['measures'][name]) for name in columns)} |"
        for v in result["variants"].values()
    ]
    lost = -100 * result["variants"]["cifar10_imbalanced"]["measures"]["gain/label=automobile"]["value"]
    gaps = [f"{100 * one['value']:.1f} points" for one in result["contrasts"] if one["value"] is not None]
    return [*lines, *gaps, f"lose {lost:.1f} points"]


GROUPS = (
    *("worst_group_accuracy", "accuracy", "worst_cell_accuracy", "group:vehicle"),
    *("demographic_parity", "membership:animal"),
)
FACES = (
    *("worst_group_accuracy", "accuracy", "demographic_parity", "equal_opportunity", "equalized_odds"),
    "membership:not Young, not Male",
)

# Each file of docs/results has its page, and the words that have to be on it.
PAGES: dict[str, tuple[str, Callable[[Any], list[str]]]] = {
    "memory.json": ("data.md", memory),
    "generator_cifar10.json": ("generator.md", generator),
    "generator_cifar10_transferred.json": ("generator.md", generator),
    "generator_celeb_a.json": ("generator.md", generator),
    "generator_digits.json": ("generator.md", generator),
    "sampling_cifar10.jsonl": ("generator.md", sampling),
    "generator_speed.json": ("generator.md", generator_speed),
    "forgetting.jsonl": ("unlearning.md", accuracy_of_forgetting),
    "serving.json": ("serving.md", latencies),
    "serving_grouped.json": ("serving.md", latencies),
    "overfitted.json": ("audit.md", overfitted_audits),
    "private_classifier.json": ("paper.md", private_classifier.table),
    "audit_cost.json": ("audit.md", cost_of_an_audit),
    "adversaries.json": ("methods.md", cost_of_adversaries),
    "debiasing_cifar10/methods.json": ("fairness.md", study(debiasing.NAMES, GROUPS)),
    "debiasing_cifar10/deletion.json": ("fairness.md", study(deletion_study.NAMES, GROUPS)),
    "debiasing_celeb_a/methods.json": ("fairness.md", study(debiasing.NAMES, FACES)),
    "debiasing_celeb_a/deletion.json": ("fairness.md", study(deletion_study.NAMES, FACES)),
    "lineage/summary.json": ("generator.md", lineages),
    "table1/summary.json": ("paper.md", table1),
    "figure12/summary.json": ("paper.md", figure12),
    "figures6to9/summary.json": ("paper.md", figures6to9),
    "unlearning_cost.json": ("unlearning.md", unlearning_cost),
}


@pytest.mark.parametrize("name", sorted({path.name for path in RESULTS.iterdir() if path.is_file()} | PAGES.keys()))
def test_a_page_says_what_the_result_says(name):
    page, words = PAGES[name]
    text, path = (ROOT / "docs" / page).read_text(), RESULTS / name
    for line in words(files.read_json_lines(path) if path.suffix == ".jsonl" else files.read_json(path)):
        assert line in text


def test_the_readme_says_what_debiasing_does():
    arms = files.read_json(RESULTS / "debiasing_cifar10/methods.json")["summary"]["arms"]
    nothing, copies, diffusion = (
        f"{arms[arm]['worst_group_accuracy']['mean']:.1f} %" for arm in ("none", "oversample", "diffusion")
    )
    assert f"rises from {nothing} to {diffusion} with it, and to {copies} with" in (ROOT / "README.md").read_text()


def test_the_readme_has_table_1_and_its_figures_are_there():
    text = (ROOT / "README.md").read_text()
    assert (RESULTS / "table1/course-cifar10-transfer.md").read_text() in text
    figures = re.findall(r"[(\"](docs/[^)\"]+\.(?:svg|png))", text)
    assert len(figures) >= 3
    assert all((ROOT / figure).is_file() for figure in figures)


def test_the_readme_says_what_attacks_find():
    measures = files.read_json(RESULTS / "figure12/summary.json")["variants"]["cifar10_transfer"]["measures"]

    def success(t):
        return [measures[f"success/{attack}@{t}"] for attack in ("moments", "m_mean", "m_loss")]

    def found(t):
        values = [100 * number["value"] for number in success(t)]
        return f"{min(values):.0f} to {max(values):.0f} %"

    quiet = 1 + max(t for t in range(11) if any(number["low"] > 0.5 for number in success(t)))
    text = " ".join((ROOT / "README.md").read_text().split())
    assert (
        f"With all originals in the model the attacks are right in {found(0)} of cases, where guessing gives 50" in text
    )
    assert f"with a tenth forgotten in {found(1)}, and from step {quiet} on no interval lies above 50 %" in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_the_file_that_it_quotes(name):
    assert (RESULTS / name).exists()
    assert f"docs/results/{name}" in (ROOT / "docs" / PAGES[name][0]).read_text()
