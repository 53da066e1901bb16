"""The look of every chart: a palette that colour-blind readers can tell apart, and light and dark SVG.

Charts are drawn by matplotlib in the light colours; `themed_svg` then turns each colour of the palette into a CSS
variable with that colour as its fallback, so that one drawing follows the page into dark mode and also stands alone.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# role -> (light, dark); the light ones must all differ, since they are how a role is found again in the SVG
PALETTE: dict[str, tuple[str, str]] = {
    "ink": ("#1c2430", "#e7ecf3"),
    "muted": ("#5b6675", "#a3afbf"),
    "grid": ("#e2e6ec", "#323c4a"),
    "blue": ("#0068a8", "#5cb8f2"),
    "orange": ("#c24e00", "#ff9a4d"),
    "green": ("#007a55", "#3ccf9f"),
    "pink": ("#b0458a", "#ee9ed0"),
    "gold": ("#8f6a00", "#f2d64b"),
    "violet": ("#5b4bb7", "#b6a8ff"),
    "grey": ("#6a7480", "#b9c2cd"),
}
CARD = ("#ffffff", "#1a212b")  # the background that charts stand on, light and dark
SERIES = ("blue", "orange", "green", "pink", "gold", "violet", "grey")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[tuple[int, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.6)),
    (0, (1.5, 1.3)),
    (0, (5, 1.4, 1.3, 1.4)),
    (0, (3, 1.2)),
    (0, (7, 1.5, 1.3, 1.5, 1.3, 1.5)),
    (0, (1, 2)),
)
GLYPHS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}

_NAMESPACE = '<svg xmlns="http://www.w3.org/2000/svg" '
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
    "svg.hashsalt": "tfpdu",
    "text.parse_math": False,  # a $ in a user's name is only a $
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.unicode_minus": True,
}


def color(role: str) -> str:
    """The light-mode colour of a role of the palette, as '#rrggbb'."""
    return PALETTE[role][0]


def series(index: int) -> tuple[str, str, tuple[int, tuple[float, ...]]]:
    """Role, marker and dash of the index-th series of a chart; all three tell it apart."""
    return SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)]


@contextlib.contextmanager
def chart(width: float = 3.7, height: float = 2.7) -> Iterator[tuple[Figure, Axes]]:
    """Yields a figure with one plain axes in the house style; sizes in inches. Draws and saves inside the block."""
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(color("muted"))
        axes.tick_params(colors=color("muted"), labelcolor=color("ink"), length=0, pad=4)
        axes.tick_params(axis="x", length=3)
        axes.grid(True, color=color("grid"), linewidth=0.8)
        axes.set_axisbelow(True)
        axes.xaxis.label.set_color(color("muted"))
        axes.yaxis.label.set_color(color("muted"))
        yield figure, axes


def themed_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element for a page.

    Args:
      figure: a figure made by `chart`.
      name: unique in the page; letters, digits and hyphens. Prefixes every id in the drawing.
      description: what a reader who cannot see the chart is told.

    Returns:
      The element, without XML prologue, external references or fixed size, and with palette colours as CSS variables.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.S)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.S)
    text = re.sub(r"<defs>\s*</defs>\s*", "", text)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found.group()), text)
    view_box = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg class="chart" {view_box.group() if view_box else ""} role="img" aria-label="{escape(description)}">'
    return head + text[text.index(">") + 1 :]


def legend(figure: Figure) -> None:
    """Names the labelled lines of a figure above its axes: for a drawing that stands alone."""
    figure.legend(
        loc="outside upper left", ncols=4, frameon=False, labelcolor=color("ink"), handlelength=2.6, columnspacing=1.2
    )


def standalone(svg: str) -> str:
    """An `<svg>` element as the content of a file of its own, dark where the reader's screen is."""
    light, dark = css_variables(dark=False), css_variables(dark=True)
    style = f"<style>svg {{ {light} }} @media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    head, _, body = svg.partition(">")
    return f"{head.replace('<svg ', _NAMESPACE, 1)}>{style}{body}\n"


def css_variables(dark: bool) -> str:
    """The palette as CSS custom properties: '--c-ink: #1c2430; …'."""
    return " ".join(f"--c-{role}: {pair[dark]};" for role, pair in PALETTE.items())


def _variable(hex_color: str) -> str:
    for role, (light, _) in PALETTE.items():
        if light == hex_color:
            return f"var(--c-{role}, {light})"
    return hex_color
