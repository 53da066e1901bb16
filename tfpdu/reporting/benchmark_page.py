"""The page of an unlearning benchmark: a table and the trade-offs of each scenario."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import tfpdu
from tfpdu.common.files import write_text
from tfpdu.reporting import benchmark as tables
from tfpdu.reporting.benchmark import COLUMNS, Entry, Line, Spread
from tfpdu.reporting.benchmark_figures import confidence_chart, requests_chart, trade_off
from tfpdu.reporting.benchmark_published import beside
from tfpdu.reporting.benchmark_robustness import SPREADS, associations
from tfpdu.reporting.html import environment, stylesheet
from tfpdu.reporting.style import series
from tfpdu.unlearning.benchmark.grid import ORIGINAL
from tfpdu.unlearning.benchmark.recipes import RETRAIN
from tfpdu.unlearning.benchmark.scenarios import KINDS, Scenario

_TRADES = (
    ("time_ratio", "average_gap", True, "Gap against time", "Low and left is better. A method above 1 costs more than"
     " retraining, which has no gap at all."),
    ("forget_accuracy", "retain_accuracy", False, "Forget against retain", "Best is where the retrained model is, not"
     " where forget accuracy is lowest."),
    ("layer_spread_std", "robust_fgsm_test", False, "Robustness against layer spread", "Tran and Woo conjecture"
     " that a larger spread goes with less robustness."),
)  # fmt: skip
_HISTOGRAMS = (ORIGINAL, RETRAIN, "amun", "salun", "fine_tune", "gradient_ascent")


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """What there is to tell of a benchmark.

    Attributes:
      title: of the page.
      facts: (what, value) pairs for the head.
      lines: of the cells that are done.
      cells: how many there are in all.
      published: whether the tables of others are about these data, CIFAR-10.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    lines: Sequence[Line]
    cells: int
    published: bool = False


def write_benchmark_page(path: Path, report: BenchmarkReport) -> None:
    """Writes the page, which needs no other file; the same lines give the same bytes."""
    found = tables.entries(report.lines)
    text = (
        environment()
        .get_template("benchmark.html")
        .render(
            report=report,
            scenarios=[
                _scenario(number, name, some, report.lines)
                | {"published": beside(name, some) if report.published else []}
                for number, (name, some) in enumerate(tables.by_scenario(found).items())
            ],
            meanings=[COLUMNS[key][::3] for key in tables.columns(found)],
            css=Markup(stylesheet()),
            version=tfpdu.__version__,
        )
    )
    write_text(path, text)


def _scenario(number: int, name: str, mine: Sequence[Entry], lines: Sequence[Line]) -> dict[str, Any]:
    """What the template needs of a scenario, from its entries and the lines of all."""
    shown = [key for key in tables.columns(mine) if any(key in entry.values for entry in mine)]
    ordered = sorted(mine, key=_place)
    trades = [
        {"title": title, "words": words, "svg": Markup(trade_off(f"trade-{number}-{i}", mine, x, y, log))}
        for i, (x, y, log, title, words) in enumerate(_TRADES)
    ]
    return {
        "name": name,
        "words": KINDS[Scenario.parse(name).kind][1].partition(", ")[2],
        "heads": [COLUMNS[key][0] for key in shown],
        "rows": [
            {
                "name": entry.name,
                "skipped": entry.skipped,
                "reference": entry.method in tables.REFERENCES,
                "cells": [tables.cell(entry, key) for key in shown],
            }
            for entry in ordered
        ],
        "seeds": max((spread.seeds for entry in mine for spread in entry.values.values()), default=0),
        "trades": [trade for trade in trades if trade["svg"]],
        "associations": _associations(mine),
        "histograms": _histograms(number, mine, [line for line in lines if line["scenario"] == name]),
        "legend": [(series(i)[0], words) for i, words in zip((1, 2, 0), ("forget", "retain", "test"), strict=True)],
        "requests": _requests(number, mine),
    }


def _associations(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """A row an attack: its head, and Spearman's rho with each kind of layer spread gap."""
    made = associations(found)
    return [
        {
            "attack": COLUMNS[f"robust_{attack}_test"][0],
            "models": next(one.models for one in made if one.attack == attack),
            "rhos": [next((o for o in made if (o.attack, o.spread) == (attack, s)), None) for s in SPREADS],
        }
        for attack in dict.fromkeys(one.attack for one in made)
    ]


def _place(entry: Entry) -> tuple[int, float]:
    """References first, then methods by their gap, those without one last."""
    if entry.method in tables.REFERENCES:
        return (0, float(tables.REFERENCES.index(entry.method)))
    gap = entry.values.get("average_gap")
    return (1, gap.mean) if gap else (2, 0.0)


def _histograms(number: int, found: Sequence[Entry], lines: Sequence[Line]) -> list[Markup]:
    charts = []
    for method in _HISTOGRAMS:
        mine = [line for line in lines if line["method"] == method and line.get("confidence")]
        name = next((entry.name for entry in found if entry.method == method), method)
        if mine:
            charts.append(Markup(confidence_chart(f"confidence-{number}-{method.replace('_', '-')}", name, mine)))
    return charts


def _requests(number: int, found: Sequence[Entry]) -> list[dict[str, Any]]:
    """AMUN's figure of successive requests: R against F less F against T, after each."""
    entries = [entry for entry in found if len(entry.steps) > 1 and entry.method != ORIGINAL]
    if not entries:
        return []

    def difference(step: Mapping[str, Spread]) -> float | None:
        return 100 * (step["fr_auc"].mean - step["ft_auc"].mean) if {"fr_auc", "ft_auc"} <= set(step) else None

    def gap(step: Mapping[str, Spread]) -> float | None:
        return step["average_gap"].mean if "average_gap" in step else None

    charts = (("FR AUC less FT AUC, points", difference), ("average gap, points", gap))
    return [
        {"words": words, "svg": Markup(requests_chart(f"requests-{number}-{i}", entries, words, value))}
        for i, (words, value) in enumerate(charts)
    ]
