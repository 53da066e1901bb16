"""The figures of a bias report: every attribute against its prior, and the joint cells before and after."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tfpdu.common import files
from tfpdu.reporting.formatting import count, nats, percent
from tfpdu.reporting.style import CARD, chart, color

_BEFORE, _AFTER = "grey", "blue"
_MOST_VALUES = 60  # more bars than this cannot be read


def write_distributions(report: dict[str, Any], directory: Path) -> list[Path]:
    """Writes bias_attributes.png and bias_joint.png, where there is what they show. Returns their paths.

    Args:
      report: the content of bias.json, fresh or read.
      directory: where to.
    """
    figures = {"bias_attributes.png": attributes_figure(report), "bias_joint.png": joint_figure(report)}
    return [_write(figure, directory / name) for name, figure in figures.items() if figure is not None]


def attributes_figure(report: dict[str, Any]) -> Figure | None:
    """A pair of bars per value, before and after, with the prior as a line across them. None if all have too many."""
    entries = {name: entry for name, entry in report["attributes"].items() if len(entry["values"]) <= _MOST_VALUES}
    if not entries:
        return None
    rows = sum(len(entry["values"]) + 1.1 for entry in entries.values())
    with chart(6.4, max(1.9, 0.42 * rows + 0.95)) as (figure, axes):
        y, ticks, names = 0.0, [], []
        for name, entry in entries.items():
            y = _attribute(axes, y, name, entry)
            for k, value in enumerate(entry["values"]):
                ticks.append(y + k)
                names.append(value)
            y += len(entry["values"]) + 0.35
        axes.set_yticks(ticks, names)
        axes.set_ylim(y - 0.2, -0.65)
        axes.set_xlim(0, _right_edge(entries))
        axes.grid(False, axis="y")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
        axes.set_xlabel("share of the rows whose value is known")
        figure.legend(
            handles=[
                Patch(color=color(_BEFORE), label="before"),
                Patch(color=color(_AFTER), label="after"),
                Line2D([], [], color=color("ink"), linewidth=2.2, label="prior"),
            ],
            loc="outside upper right",
            ncols=3,
            frameon=False,
            labelcolor=color("ink"),
        )
    return figure


def joint_figure(report: dict[str, Any]) -> Figure | None:
    """Two grids of cells, before and after: rows of the first variable, columns of the others. None without a joint.

    Empty cells say so: what is not there at all, no marginal shows.
    """
    joints = {**report["joint"], **{n: e for n, e in report["attributes"].items() if len(e["shape"]) > 1}}
    if not joints:
        return None
    name, entry = max(joints.items(), key=lambda item: len(item[1]["shape"]))
    height = entry["shape"][0]
    width = len(entry["values"]) // height
    if height > 40 or width > 24:
        return None
    most = max(*entry["before"], *entry["after"])
    # Wide cells so that '1,234' and '12.3%' fit; two grids, the row names on the left one only.
    size = (min(14.0, 1.3 + 2 * max(1.6, 0.78 * width)), 1.25 + 0.44 * height)
    with chart(*size) as (figure, axes):
        axes.remove()
        left, right = figure.subplots(1, 2, sharey=True)
        _grid(left, entry, "before", most, (height, width))
        _grid(right, entry, "after", most, (height, width))
        figure.suptitle(
            name.replace(" x ", " × "), x=0.01, ha="left", color=color("ink"), fontweight="bold", fontsize=9.5
        )
    return figure


def _attribute(axes: Axes, y: float, name: str, entry: dict[str, Any]) -> float:
    """Draws one attribute from height y downwards. Returns the height of its first value."""
    title = f"{name.replace(' x ', ' × ')}    KL {_kl(entry['kl_before'])} → {_kl(entry['kl_after'])} nats"
    axes.text(0, y - 0.1, title, color=color("ink"), fontweight="bold", va="center", fontsize=9)
    y += 0.75
    for k, prior in enumerate(entry["prior"]):
        for side, key, role in ((-0.19, "before", _BEFORE), (0.19, "after", _AFTER)):
            share = entry[key][k]
            axes.barh(y + k + side, share, 0.34, color=color(role))
            axes.annotate(
                f"{percent(share)}  {count(entry[f'counts_{key}'][k])}",
                (max(share, prior if abs(prior - share) < 0.12 else 0), y + k + side),
                (5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=color("muted"),
            )
        axes.plot([prior, prior], [y + k - 0.43, y + k + 0.43], color=color("ink"), linewidth=2.2, zorder=3)
    return y


def _kl(value: float | None) -> str:
    return nats(None if value is None or math.isinf(value) else value)  # a file has null for infinity


def _grid(axes: Axes, entry: dict[str, Any], key: str, most: float, shape: tuple[int, int]) -> None:
    shares = np.array(entry[key], np.float64).reshape(shape)
    counts = np.array(entry[f"counts_{key}"], np.float64).reshape(shape)
    ramp = LinearSegmentedColormap.from_list("shares", [CARD[0], color("blue")])
    axes.imshow(shares, cmap=ramp, vmin=0, vmax=most, aspect="auto")
    for row, column in np.ndindex(*shape):
        share, rows = shares[row, column], counts[row, column]
        dark = share > 0.68 * most
        text = f"{count(rows)}\n{percent(share)}" if rows else "none"
        ink = CARD[0] if dark else color("ink" if rows else "orange")
        axes.text(column, row, text, ha="center", va="center", fontsize=6.8, color=ink, linespacing=1.15)
    names = [value.split(", ", 1) for value in entry["values"]]
    axes.set_title(f"{key}  ·  {count(counts.sum())} rows", color=color("ink"), loc="left")
    columns = [name[1].replace(", ", ",\n") for name in names[: shape[1]]]
    axes.set_xticks(range(shape[1]), columns)
    axes.set_yticks(range(shape[0]), [name[0] for name in names[:: shape[1]]])
    if max(len(line) for column in columns for line in column.split("\n")) > 10:
        for label in axes.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xticks(np.arange(-0.5, shape[1]), minor=True)
    axes.set_yticks(np.arange(-0.5, shape[0]), minor=True)
    axes.grid(False)
    axes.grid(True, which="minor", color=color("grid"), linewidth=1)
    axes.tick_params(which="both", length=0, colors=color("ink"))
    for spine in axes.spines.values():
        spine.set_visible(False)


def _right_edge(entries: dict[str, dict[str, Any]]) -> float:
    widest = max(max(*entry["prior"], *entry["before"], *entry["after"]) for entry in entries.values())
    return widest * 1.17 + 0.02  # room for the numbers beside the longest bar


def _write(figure: Figure, path: Path) -> Path:
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=160, facecolor=CARD[0], metadata={"Software": None})
    return path
