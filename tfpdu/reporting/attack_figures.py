"""The charts of an audit's page: log-log ROC curves, and histograms of an attack's scores."""

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from tfpdu.audit import auc, roc_curve
from tfpdu.audit.protocols import Outcome
from tfpdu.reporting.attacks import attack_name
from tfpdu.reporting.formatting import decimal, percent
from tfpdu.reporting.style import chart, color, series, themed_svg

_BINS = 40


def roc_chart(name: str, outcomes: Sequence[Outcome]) -> str:
    """ROC curves of several attacks on two logarithmic axes, where the small false-positive rates are that matter.

    The axes start at half a row's weight, so that a threshold without a false positive is at the left edge.

    Args:
      name: unique in the page.
      outcomes: of one population and protocol, on the same rows.
    """
    least = 0.5 / max(max(len(outcome.members), len(outcome.nonmembers)) for outcome in outcomes)
    with chart(3.7, 3.4) as (figure, axes):
        axes.plot([least, 1], [least, 1], color=color("ink"), linewidth=1.1)
        words = []
        for index, outcome in enumerate(outcomes):
            role, _, dash = series(index)
            fpr, tpr, _ = roc_curve(outcome.members, outcome.nonmembers)
            shown = _corners(np.maximum(fpr, least), np.maximum(tpr, least))
            axes.plot(*shown, color=color(role), linestyle=dash, linewidth=1.6, drawstyle="steps-post")
            words.append(f"{attack_name(outcome.attack)} AUC {decimal(auc(outcome.members, outcome.nonmembers).value)}")
        for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            scale("log")
            axis.set_major_locator(LogLocator(10, numticks=8))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
            axis.set_minor_formatter(NullFormatter())
        axes.tick_params(axis="both", which="minor", length=0)
        axes.set_xlim(least, 1)
        axes.set_ylim(least, 1)
        axes.set_xlabel("false-positive rate")
        axes.set_ylabel("true-positive rate")
        return themed_svg(figure, name, f"ROC curves, both axes logarithmic. {'; '.join(words)}")


def histogram_chart(name: str, outcome: Outcome) -> str:
    """Scores of members and of non-members, as shares of either side, and the threshold.

    Scores that are all negative, such as losses with their sign turned, get a logarithmic axis. The middle 98 % of
    all scores has the axis; what lies beyond counts to the outer bins.

    Args:
      name: unique in the page.
      outcome: the scores of one attack.
    """
    logarithmic = max(outcome.members.max(), outcome.nonmembers.max()) <= 0 > outcome.nonmembers.min()
    sides = [_placed(side, logarithmic) for side in (outcome.nonmembers, outcome.members)]
    low, high = np.quantile(np.concatenate(sides), [0.01, 0.99])
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    edges = np.linspace(low, high, _BINS + 1)
    with chart(3.1, 2.2) as (figure, axes):
        for values, role in zip(sides, ("orange", "blue"), strict=True):
            shares = np.histogram(np.clip(values, low, high), edges)[0] / len(values)
            axes.stairs(shares, edges, fill=True, color=color(role), alpha=0.25)
            axes.stairs(shares, edges, color=color(role), linewidth=1.3)
        threshold = float(_placed(np.array([outcome.threshold]), logarithmic)[0])
        if low <= threshold <= high:
            axes.axvline(threshold, color=color("ink"), linewidth=1.1, linestyle=(0, (4, 2)))
        if logarithmic:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: f"−{10**-place:.4g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("score")
        above = [percent(float(np.mean(side >= outcome.threshold))) for side in (outcome.members, outcome.nonmembers)]
        words = f"{above[0]} of the members and {above[1]} of the others are at or above the threshold"
        return themed_svg(figure, name, f"Scores of {attack_name(outcome.attack)}. {words}")


def _placed(scores: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Where scores lie on the axis; infinite ones at its ends."""
    if logarithmic:
        return -np.log10(np.clip(-scores, 1e-12, 1e12))
    return np.clip(scores, -1e12, 1e12)


def _corners(fpr: np.ndarray, tpr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points where a step curve turns: thousands of rows would be drawn one by one otherwise."""
    kept = np.ones(len(fpr), bool)
    kept[1:-1] = ~(
        ((fpr[1:-1] == fpr[:-2]) & (fpr[1:-1] == fpr[2:])) | ((tpr[1:-1] == tpr[:-2]) & (tpr[1:-1] == tpr[2:]))
    )
    x, y = fpr[kept], tpr[kept]
    if len(x) > 600:  # and no more than a screen can show
        spread = np.unique(np.searchsorted(x, np.geomspace(x[0], 1, 600)).clip(max=len(x) - 1))
        x, y = x[spread], y[spread]
    return x, y
