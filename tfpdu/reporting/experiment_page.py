"""The page of an experiment: its variants side by side over seeds, what differs, figures, and the paper's numbers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting import figures
from tfpdu.reporting.attacks import attack_name
from tfpdu.reporting.comparison import courses, number_text
from tfpdu.reporting.figures import Stage
from tfpdu.reporting.formatting import decimal, nats
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.style import standalone

Numbers = Mapping[str, Mapping[str, Any]]  # {measure: value, low, high, runs, interval}
_SUCCESS = re.compile(r"^success/(?!strongest)(\w+)@(\d+)$")


def write_experiment_page(directory: Path, summary: Mapping[str, Any], measures: Sequence[Sequence[str]]) -> None:
    """Writes index.html, each figure as an .svg file beside it, and as .md what the paper has for each iteration.

    Args:
      directory: of the collected experiment.
      summary: of `tfpdu.experiments.collection.summarise_experiment`.
      measures: (name, words, unit) of the rows of its table.
    """
    variants = summary["variants"]
    drawn = {name: _charts(name, variant) for name, variant in variants.items()}
    for file, _, svg in (chart for charts in drawn.values() for chart in charts):
        write_text(directory / f"{file}.svg", standalone(svg))
    for name, variant in variants.items():
        if beside := courses(variant["paper"]):
            write_text(directory / f"{_plain(f'course-{name}')}.md", "\n".join(_course_table(beside)) + "\n")
    page = environment().get_template("experiment.html")
    text = page.render(
        summary=summary,
        variants=variants,
        rows=[
            (words, [_cell(v["measures"].get(name), unit) for v in variants.values()]) for name, words, unit in measures
        ],
        contrasts=[
            (one["words"], _cell(one, _contrast_unit(one["measure"]), difference=True), one["runs"])
            for one in summary["contrasts"]
        ],
        charts=[
            (variants[name]["words"] or name, [(words, Markup(svg)) for _, words, svg in charts])
            for name, charts in drawn.items()
            if charts
        ],
        paper=[
            (name, [_beside(row) for row in variant["paper"]]) for name, variant in variants.items() if variant["paper"]
        ],
        samples=[(variants[name]["words"] or name, picture) for name, picture in _samples(directory, variants)],
        css=Markup(stylesheet()),
        version=tfpdu.__version__,
    )
    write_text(directory / "index.html", text)


def _samples(directory: Path, variants: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(variant, picture beside the page) where the first seed's samples were kept."""
    found = [(name, f"{variant['runs'][0]}/samples.png") for name, variant in variants.items()]
    return [(name, picture) for name, picture in found if (directory / picture).is_file()]


def _cell(number: Mapping[str, Any] | None, unit: str, difference: bool = False) -> dict[str, Any] | None:
    if number is None or number["value"] is None:
        return None
    ends = None
    if number["low"] is not None and number["low"] != number["high"]:
        low, high = number["low"], number["high"]
        if not difference and unit != "points":  # Student's t knows no bounds; shares, times and divergences do
            low, high = max(low, 0.0), min(high, 1.0) if unit == "share" else high
        ends = f"{_text(low, unit)} to {_text(high, unit)}"
    return {"value": number["value"], "text": _text(number["value"], unit), "ends": ends}


def _text(value: float, unit: str) -> str:
    if unit == "nats":
        return nats(value)
    if unit == "points":
        return f"{decimal(100 * value, 1)} points"
    return number_text(value, unit)


def _contrast_unit(measure: str) -> str:
    return next(
        (unit for start, unit in (("kl", "nats"), ("step_seconds", "seconds")) if measure.startswith(start)), "points"
    )


def _beside(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: number_text(row[name], row["unit"], row["kind"]) for name in ("published", "measured")}
    return {**row, "texts": shown}


def _course_table(beside: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """Lines of a Markdown table: a row an iteration, and of each published course the paper's number and ours."""
    heads = [head for _, title, _ in beside for head in (f"{title}: paper", "ours")]
    cells: dict[int, list[str]] = {}
    for _, _, points in beside:
        for point in points:
            ours = _cell({"value": point["measured"], "low": point["ci_low"], "high": point["ci_high"]}, point["unit"])
            text = "–" if ours is None else f"{ours['text']} ({ours['ends']})" if ours["ends"] else ours["text"]
            cells.setdefault(point["iteration"], []).extend([number_text(point["published"], point["unit"]), text])
    rows = [["iteration", *heads], ["---"] * (1 + len(heads)), *([str(t), *row] for t, row in sorted(cells.items()))]
    return [f"| {' | '.join(row)} |" for row in rows]


def _charts(name: str, variant: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(file name, words, svg) of what a variant has to draw."""
    found = []
    numbers: Numbers = variant["measures"]
    rows = [
        {"attack": attack_name(match[1]), "forget_fraction": forgotten, "success_rate": number["value"],
         "ci_low": number["low"], "ci_high": number["high"]}
        for key, number in numbers.items()
        if (match := _SUCCESS.match(key)) and (forgotten := _forgotten(numbers, int(match[2]))) is not None
    ]  # fmt: skip
    if len({row["forget_fraction"] for row in rows}) > 1:
        names = list(dict.fromkeys(row["attack"] for row in rows))
        chart = _plain(f"attacks-{name}")
        svg = figures.attack_chart(chart, "all originals", rows, names, figures.attack_limits(rows), named=True)
        found.append((chart, "Attack success on all originals; 50% is guessing", svg))
    for measure, title, points in courses(variant["paper"]):
        chart = _plain(f"course-{name}-{measure}")
        words = f"{title.capitalize()}, iteration by iteration, beside the paper’s"
        found.append((chart, words, figures.published_chart(chart, title, points, named=True)))
    for attribute in dict.fromkeys(key.split("/")[1].split("=")[0] for key in numbers if key.startswith("accuracy/")):
        stages = [
            Stage(words, role, marker, glyph, _groups(numbers, attribute, at))
            for words, role, marker, glyph, at in (
                ("before Algorithm 1 (circle)", "orange", "o", "○", "before"),
                ("after it (dot)", "blue", "o", "●", "after"),
            )
        ]
        groups = list(stages[0].values)
        if groups and set(groups) <= set(stages[1].values):
            chart = _plain(f"groups-{name}-{attribute}")
            svg = figures.group_chart(chart, attribute, groups, stages)
            words = f"Accuracy by {attribute}, {' and '.join(stage.words for stage in stages)}"
            found.append((chart, words, svg))
    return found


def _plain(name: str) -> str:
    """Letters, digits and hyphens, for files and ids."""
    return re.sub("[^A-Za-z0-9]+", "-", name)


def _forgotten(numbers: Numbers, t: int) -> float | None:
    """The share of the originals forgotten by iteration t."""
    first, now = numbers.get("originals@0"), numbers.get(f"originals@{t}")
    return None if first is None or now is None else 1 - now["value"] / first["value"]


def _groups(numbers: Numbers, attribute: str, stage: str) -> dict[str, dict[str, Any]]:
    start, end = f"accuracy/{attribute}=", f"@{stage}"
    return {
        key.removeprefix(start).removesuffix(end): {"value": n["value"], "ci_low": n["low"], "ci_high": n["high"]}
        for key, n in numbers.items()
        if key.startswith(start) and key.endswith(end)
    }
