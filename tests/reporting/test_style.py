"""The palette can be read by everyone in both modes, and charts carry it."""

import itertools

import numpy as np
import pytest

from tfpdu.reporting.style import CARD, PALETTE, SERIES, chart, color, series, themed_svg

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def linear(hex_color: str) -> np.ndarray:
    srgb = np.array([int(hex_color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(a: str, b: str) -> float:
    high, low = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(rgb, 0, 1)
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 1e-3))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("dark", [0, 1])
@pytest.mark.parametrize("role", [role for role in PALETTE if role != "grid"])
def test_every_colour_stands_out_from_the_card(role, dark):
    least = 7 if role == "ink" else 4.5  # WCAG 2: text AAA and AA; 3 would do for marks
    assert contrast(PALETTE[role][dark], CARD[dark]) >= least


@pytest.mark.parametrize("dark", [0, 1])
@pytest.mark.parametrize("vision", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["full", "deuteranopia", "protanopia"])
def test_first_series_are_told_apart_by_colour_blind_readers(dark, vision):
    shown = {role: lab(vision @ linear(PALETTE[role][dark])) for role in SERIES[:3]}
    for a, b in itertools.combinations(shown, 2):
        assert np.linalg.norm(shown[a] - shown[b]) > 20, (a, b)


def test_series_differ_by_marker_and_dash_too():
    looks = [series(index) for index in range(len(SERIES))]
    for part in zip(*looks, strict=True):
        assert len(set(part)) == len(SERIES)


def test_light_colours_are_unique_so_that_roles_are_found_again():
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


def test_svg_follows_the_theme_keeps_text_and_needs_nothing_else():
    with chart() as (figure, axes):
        axes.plot([0, 1], [0, 1], "o-", color=color("blue"))
        axes.set_xlabel("Größe <b> $x$")
        text = themed_svg(figure, "one", 'a "chart" <x>')
    assert text.startswith('<svg class="chart" viewBox=')
    assert "var(--c-blue, #0068a8)" in text
    assert "Größe &lt;b&gt; $x$</text>" in text
    assert 'aria-label="a &#34;chart&#34; &lt;x&gt;"' in text
    assert "http" not in text
    assert "<style" not in text
    assert 'id="figure' not in text


def test_drawing_twice_gives_the_same_text():
    def draw():
        with chart() as (figure, axes):
            axes.plot([0, 1], [0, 1], "s--")
            return themed_svg(figure, "one", "words")

    assert draw() == draw()
