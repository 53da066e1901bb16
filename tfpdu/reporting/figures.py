"""The charts of a report, each one small enough to be read on a phone and given back as an inline SVG."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from tfpdu.reporting.formatting import duration, nats, percent
from tfpdu.reporting.style import chart, color, legend, series, themed_svg

CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800)  # seconds between marks
MAX_CELLS = 24  # more bars than this in one chart are not read
Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Stage:
    """A moment at which groups were measured: its words, its looks, and {group or measure: fairness.json row}."""

    words: str
    role: str
    marker: str
    glyph: str
    values: Mapping[str, Row]


def bias_chart(name: str, attribute: str, entry: Row) -> str:
    """Shares of an attribute's values before and after debiasing, and the prior as a tick.

    Args:
      name: unique in the page.
      attribute: the attribute's name, or a joint's, e.g. "label x colour".
      entry: its entry in bias.json; shares in [0, 1], K cells each.

    Returns:
      An `<svg>` element. With more than 24 cells, the 24 that were furthest from the prior are drawn.
    """
    cells = shown_cells(entry)
    prior, before, after = (_shares(entry, key)[cells] for key in ("prior", "before", "after"))  # [cells]
    labels = [_short(str(entry["values"][cell])) for cell in cells]
    rows = np.arange(len(cells))
    with chart(height=0.85 + 0.27 * len(cells)) as (figure, axes):
        axes.hlines(rows, before, after, color=color("muted"), linewidth=1.2, alpha=0.7)
        axes.plot(before, rows, "o", markerfacecolor="none", markeredgecolor=color("orange"), markeredgewidth=1.6, ms=6)
        axes.plot(after, rows, "o", color=color("blue"), ms=5.5)
        axes.vlines(prior, rows - 0.36, rows + 0.36, color=color("ink"), linewidth=2)
        _category_axis(axes, labels)
        _percent_axis(axes.xaxis)
        top = float(np.nanmax(np.concatenate([prior, before, after])))
        axes.set_xlim(0, min(1.0, top * 1.12) if top > 0 else 1)
        axes.set_xlabel("share of the rows")
        words = "; ".join(
            f"{label}: {percent(b)} before, {percent(a)} after, prior {percent(p)}"
            for label, b, a, p in zip(labels, before.tolist(), after.tolist(), prior.tolist(), strict=True)
        )
        return themed_svg(figure, name, f"Shares of {attribute}. {words}")


def shown_cells(entry: Row) -> np.ndarray:
    """Which cells of a bias.json entry its chart shows, int[<= 24], in their own order."""
    gap = np.nan_to_num(np.abs(_shares(entry, "before") - _shares(entry, "prior")))
    return np.sort(np.argsort(-gap, kind="stable")[:MAX_CELLS])


def group_chart(name: str, attribute: str, groups: Sequence[str], stages: Sequence[Stage]) -> str:
    """Accuracy of each group at up to three stages, with intervals.

    Args:
      name: unique in the page.
      attribute: what the groups are values of.
      groups: group names in the order to show.
      stages: in order of time; values in [0, 1].
    """
    with chart(height=0.85 + 0.36 * len(groups)) as (figure, axes):
        _dots(axes, groups, stages)
        _category_axis(axes, [_short(group) for group in groups])
        _percent_axis(axes.xaxis)
        axes.set_xlabel("accuracy on the test pool")
        low_end, high_end = axes.get_xlim()
        axes.set_xlim(max(-0.025, low_end), min(1.025, high_end))  # whole markers at 0 % and 100 %
        words = "; ".join(f"{group}: {_at_stages(group, stages)}" for group in groups)
        return themed_svg(figure, name, f"Accuracy by {attribute}. {words}")


def gap_chart(name: str, attribute: str, measures: Mapping[str, str], stages: Sequence[Stage]) -> str:
    """Differences between groups at up to three stages, with intervals; 0 is equal.

    Args:
      name: unique in the page.
      attribute: whose groups are compared.
      measures: the words of each measure, in the order to show.
      stages: in order of time; their `values` are {measure: fairness.json row}, values in [0, 1].
    """
    with chart(height=0.85 + 0.42 * len(measures)) as (figure, axes):
        axes.axvline(0, color=color("ink"), linewidth=1.1)
        _dots(axes, list(measures), stages)
        _category_axis(axes, list(measures.values()))
        for row, key in enumerate(measures):
            if all(np.isnan(_number(stage.values.get(key), "value")) for stage in stages):
                axes.annotate(
                    "not estimable", (0, row), (5, 0), textcoords="offset points", color=color("muted"), va="center"
                )
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlim(-0.015, max(0.1, min(1.02, axes.get_xlim()[1])))
        axes.set_xlabel("difference between groups, points")
        words = "; ".join(f"{words}: {_at_stages(key, stages)}" for key, words in measures.items())
        return themed_svg(figure, name, f"Differences between the groups of {attribute}. {words}")


def _dots(axes: Axes, names: Sequence[str], stages: Sequence[Stage]) -> None:
    """A row a name; in it a marker and its interval for each stage."""
    rows = np.arange(len(names), dtype=float)
    offsets = np.linspace(-0.22, 0.22, len(stages)) if len(stages) > 1 else [0.0]
    for stage, offset in zip(stages, offsets, strict=True):
        at, low, high = (
            np.array([_number(stage.values.get(key), end) for key in names]) for end in ("value", "ci_low", "ci_high")
        )
        axes.hlines(rows + offset, low, high, color=color(stage.role), linewidth=1.6, alpha=0.55)
        face = "none" if stage.glyph == "○" else color(stage.role)
        edge: dict[str, Any] = {
            "markeredgecolor": color(stage.role),
            "markerfacecolor": face,
            "markeredgewidth": 1.6,
        }
        axes.plot(at, rows + offset, stage.marker, ms=5, **edge)


def _at_stages(group: str, stages: Sequence[Stage]) -> str:
    seen = [(stage.words, stage.values[group]["value"]) for stage in stages if group in stage.values]
    if all(value is None for _, value in seen):
        return "not estimable"
    return ", ".join(f"{percent(value)} {words}" for words, value in seen)


ACCURACY_LINES = (
    ("test_accuracy", "test"),
    ("retain_accuracy", "retain (all rows of S)"),
    ("retain_accuracy_originals", "retain, originals"),
    ("retain_accuracy_synthetic", "retain, synthetic"),
)


def accuracy_chart(name: str, iterations: Sequence[Row]) -> str:
    """Test and retain accuracy against the share of the originals forgotten; both in [0, 1]."""
    forgotten = [_number(row, "forget_fraction") for row in iterations]
    with chart(height=2.6) as (figure, axes):
        drawn = []
        for index, (key, words) in enumerate(ACCURACY_LINES):
            values = np.array([_number(row, key) for row in iterations])
            if np.all(np.isnan(values)):
                continue
            role, marker, dash = series(index)
            axes.plot(forgotten, values, marker=marker, color=color(role), linestyle=dash, linewidth=1.8, ms=4.5)
            seen = values[~np.isnan(values)]
            drawn.append(f"{words} {percent(float(seen[0]))} at first, {percent(float(seen[-1]))} at last")
        _forget_axis(axes)
        _percent_axis(axes.yaxis)
        low, high = axes.get_ylim()
        axes.set_ylim(max(0.0, low - 0.02), min(1.01, high + 0.02))
        axes.set_ylabel("accuracy")
        return themed_svg(figure, name, f"Accuracy against the share of originals forgotten. {'; '.join(drawn)}")


def time_chart(name: str, iterations: Sequence[Row]) -> str:
    """Seconds of each step's exact retraining as bars, and one full training as a line."""
    steps = [row for row in iterations if row.get("unlearn_seconds") is not None and row.get("iteration", 0) > 0]
    full = next((row["train_seconds"] for row in iterations if row.get("train_seconds") is not None), None)
    with chart(height=2.6) as (figure, axes):
        values = [float(row["unlearn_seconds"]) for row in steps]
        axes.bar([int(row["iteration"]) for row in steps], values, width=0.62, color=color("blue"))
        words = f"{len(values)} steps"
        if values:
            words += f" of {duration(min(values))} to {duration(max(values))}"
        if full is not None:
            axes.axhline(float(full), color=color("orange"), linewidth=1.8, linestyle=(0, (5, 1.6)))
            words += f"; one full training takes {duration(float(full))}"
        _duration_axis(axes, max([*values, float(full or 0), 1e-9]))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(False, axis="x")
        axes.set_xlabel("iteration")
        return themed_svg(figure, name, f"Time of each unlearning step. {words}")


def attack_chart(
    name: str,
    population: str,
    rows: Sequence[Row],
    attacks: Sequence[str],
    limits: tuple[float, float],
    named: bool = False,
) -> str:
    """Attack success against the share of originals forgotten, with interval bands and the 50 % line.

    Args:
      name: unique in the page.
      population: whom the attacks ask about, in words.
      rows: audit.json rows of this population, each with `forget_fraction` added; rates in [0, 1].
      attacks: all attacks of the report, so that each keeps its colour in every panel.
      limits: the y range that all panels share.
      named: whether the drawing itself says which line is which.
    """
    with chart(3.1, 2.5) as (figure, axes):
        axes.axhline(0.5, color=color("ink"), linewidth=1.1)
        drawn = []
        for index, attack in enumerate(attacks):
            mine = sorted((row for row in rows if row["attack"] == attack), key=lambda row: row["forget_fraction"])
            if not mine:
                continue
            role, marker, dash = series(index)
            at = [row["forget_fraction"] for row in mine]
            rates = [_number(row, "success_rate") for row in mine]
            low, high = ([_number(row, key) for row in mine] for key in ("ci_low", "ci_high"))
            axes.fill_between(at, low, high, color=color(role), alpha=0.1, linewidth=0)
            axes.plot(at, rates, marker=marker, color=color(role), linestyle=dash, linewidth=1.5, ms=4, label=attack)
            drawn.append(f"{attack} {percent(rates[0])} at first, {percent(rates[-1])} at last")
        _forget_axis(axes)
        _percent_axis(axes.yaxis)
        axes.set_ylim(*limits)
        axes.set_ylabel("attack success")
        if named:
            legend(figure)
        return themed_svg(figure, name, f"Attack success on {population}. {'; '.join(drawn)}")


def published_chart(name: str, title: str, points: Sequence[Row], named: bool = False) -> str:
    """A published course over the iterations, and ours with its interval.

    Args:
      name: unique in the page.
      title: what is measured.
      points: {"iteration", "unit", "published", "measured", "ci_low", "ci_high"} of each; the ends may be None.
      named: whether the drawing itself says which line is which.
    """
    seconds = points[0]["unit"] == "seconds"
    at = [point["iteration"] for point in points]
    theirs, ours, low, high = (
        np.array([_number(point, key) for point in points]) for key in ("published", "measured", "ci_low", "ci_high")
    )
    with chart(3.1, 2.5) as (figure, axes):
        axes.fill_between(at, low, high, color=color("blue"), alpha=0.15, linewidth=0)
        axes.plot(at, ours, marker="o", color=color("blue"), linewidth=1.8, ms=4.5, label="ours")
        role, marker, dash = series(1)
        axes.plot(at, theirs, marker=marker, color=color(role), linestyle=dash, linewidth=1.5, ms=4, label="the paper")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("iteration")
        if seconds:
            _duration_axis(axes, float(np.nanmax([theirs, ours])))
        else:
            _percent_axis(axes.yaxis)
        if named:
            axes.set_ylabel(title)
            legend(figure)
        words = duration if seconds else percent
        ends = "; ".join(
            f"{who} {words(float(values[0]))} at first, {words(float(values[-1]))} at last"
            for who, values in (("paper", theirs), ("ours", ours))
        )
        return themed_svg(figure, name, f"{title} over the iterations. {ends}")


def attack_limits(rows: Sequence[Row]) -> tuple[float, float]:
    """A y range that holds every interval and the 50 % line."""
    ends = [row[key] for row in rows for key in ("success_rate", "ci_low", "ci_high") if row.get(key) is not None]
    return max(0.0, min([0.46, *ends]) - 0.01), min(1.0, max([0.56, *ends]) + 0.02)


def kl_note(entry: Row) -> str:
    """'KL 0.0171 → 0 nats' for the head of a chart."""
    return f"KL {nats(entry.get('kl_before'))} → {nats(entry.get('kl_after'))} nats"


def _category_axis(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)  # the first group on top
    axes.grid(False, axis="y")


def _percent_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%" if abs(value) > 1e-12 else "0%"))
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _duration_axis(axes: Axes, longest: float) -> None:
    """Times from 0 on, marked at whole seconds, minutes or hours as a clock has them."""
    top = longest * 1.12
    axes.set_ylim(0, top)
    step = next((seconds for seconds in CLOCK if top / seconds <= 5), None)
    axes.yaxis.set_major_locator(MultipleLocator(step) if step else MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(float(value)) if value else "0"))


def _forget_axis(axes: Axes) -> None:
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
    axes.set_xlabel("originals forgotten")


def _shares(entry: Row, key: str) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in entry[key]], np.float64)


def _number(row: Row | None, key: str) -> float:
    value = row.get(key) if row else None
    return float("nan") if value is None else float(value)


def _short(text: str, length: int = 22) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
