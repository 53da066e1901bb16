"""The charts of a benchmark's page: trade-offs between two measures, confidence histograms, requests in a row."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tfpdu.reporting.benchmark import COLUMNS, Entry, Line
from tfpdu.reporting.style import chart, color, series, themed_svg
from tfpdu.unlearning.benchmark.grid import ORIGINAL
from tfpdu.unlearning.benchmark.recipes import AGAIN, RETRAIN

_REFERENCES = {ORIGINAL: ("orange", "s"), RETRAIN: ("ink", "D"), AGAIN: ("ink", "D")}


def trade_off(name: str, found: Sequence[Entry], x: str, y: str, log_x: bool = False) -> str:
    """A point a method, with bars of one deviation over seeds; the original and the retrained model stand out.

    Args:
      name: unique in the page.
      found: entries of one scenario.
      x: a measure of `COLUMNS`.
      y: another.
      log_x: whether the x axis is logarithmic.

    Returns:
      An `<svg>`, or "" where fewer than two methods have both numbers.
    """
    points = [entry for entry in found if x in entry.values and y in entry.values]
    points = [entry for entry in points if not log_x or entry.values[x].mean > 0]
    if len(points) < 2:
        return ""
    with chart(5.2, 3.9) as (figure, axes):
        words = []
        for entry in points:
            role, marker = _REFERENCES.get(entry.method, ("blue", "o"))
            at = [COLUMNS[key][1] * entry.values[key].mean for key in (x, y)]
            bars = [COLUMNS[key][1] * (entry.values[key].deviation or 0) for key in (x, y)]
            axes.errorbar(
                at[0], at[1], xerr=bars[0], yerr=bars[1], fmt=marker, color=color(role), ms=5, elinewidth=1, alpha=0.85
            )
            words.append(f"{entry.name} {at[0]:.3g}, {at[1]:.3g}")
        if log_x:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(_axis(x))
        axes.set_ylabel(_axis(y))
        axes.margins(0.12)
        _name_points(axes, points, x, y)
        return themed_svg(figure, name, f"{_axis(y)} against {_axis(x)}. {'; '.join(words)}")


def _axis(key: str) -> str:
    head, factor, _, meaning = COLUMNS[key]
    return f"{head}: {meaning}" if len(meaning) < 40 else f"{head}{', %' if factor == 100 else ''}"


def _name_points(axes: Any, points: Sequence[Entry], x: str, y: str) -> None:
    """Writes each name beside its point, at the first of some places around it where it covers nothing.

    Places further off have a line to the point. In a crowd, a name without a place is left out: the table has it.
    """
    figure = axes.figure
    figure.draw_without_rendering()
    taken: list[Any] = []
    at = np.array([[COLUMNS[key][1] * entry.values[key].mean for key in (x, y)] for entry in points])
    dots = axes.transData.transform(at)
    for entry, place, dot in zip(points, at, dots, strict=True):
        for reach, offset, ha, va in _PLACES:
            text = axes.annotate(
                entry.name, place, offset, textcoords="offset points", fontsize=7, color=color("ink"), ha=ha, va=va
            )
            box = text.get_window_extent()
            inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
            free = not any(box.overlaps(other) for other in taken)
            clear = not any(box.contains(*other) for other in dots if other is not dot)
            if inside and free and clear:
                taken.append(box)
                if reach > _NEAR:
                    line = {"arrowstyle": "-", "color": color("muted"), "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
                    axes.annotate("", place, offset, textcoords="offset points", arrowprops=line)
                break
            text.remove()


_NEAR = 20.0  # points; names within stand beside their points
_PLACES: list[tuple[float, tuple[float, float], str, str]] = [
    (reach, offset, ha, va)
    for reach in (5.0, 12.0, _NEAR, 32.0, 46.0, 62.0, 80.0)
    for offset, ha, va in (
        ((reach, reach / 2), "left", "bottom"),
        ((reach, -reach / 2), "left", "top"),
        ((-reach, reach / 2), "right", "bottom"),
        ((-reach, -reach / 2), "right", "top"),
        ((0.0, reach), "center", "bottom"),
        ((0.0, -reach), "center", "top"),
    )
]


def confidence_chart(name: str, title: str, lines: Sequence[Line]) -> str:
    """Confidence of one method's model on forget, retain and test rows, the mean share over seeds in each bin."""
    shares = {split: np.mean([line["confidence"][split] for line in lines], axis=0) for split in lines[0]["confidence"]}
    with chart(2.6, 1.9) as (figure, axes):
        for index, (_, values) in enumerate(shares.items()):
            role, _, dash = series((1, 2, 0)[index % 3])
            edges = np.linspace(0, 1, len(values) + 1)
            axes.stairs(values, edges, color=color(role), linestyle=dash, linewidth=1.4)
        axes.set_title(title, color=color("ink"))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.set_xlabel("confidence")
        last = ", ".join(f"{100 * v[-1]:.0f}% of {s}" for s, v in shares.items())
        return themed_svg(figure, name, f"Confidence of {title}: in the highest bin {last}")


def requests_chart(name: str, found: Sequence[Entry], words: str, value: Callable[[Any], float | None]) -> str:
    """A line a method over requests that follow each other.

    Args:
      name: unique in the page.
      found: entries of one scenario, with several steps.
      words: what is drawn.
      value: of a step's spreads; None where it has none.
    """
    with chart(5.2, 3.4) as (figure, axes):
        told = []
        for index, entry in enumerate(found):
            values = [value(step) for step in entry.steps]
            if not values or any(v is None for v in values):
                continue
            role, marker, dash = series(index)
            at = range(1, len(values) + 1)
            axes.plot(at, values, marker=marker, color=color(role), linestyle=dash, linewidth=1.5, ms=4)
            axes.annotate(entry.name, (len(values), values[-1]), (5, 0), textcoords="offset points", fontsize=7,
                          color=color(role), va="center")  # fmt: skip
            told.append(f"{entry.name} {values[0]:.3g} to {values[-1]:.3g}")
        axes.set_xlabel("request")
        axes.set_ylabel(words)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.14)
        return themed_svg(figure, name, f"{words} after each request. {'; '.join(told)}")
