"""Numbers as a reader wants them; in HTML each one also carries its exact value in a `<data>` element."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

MISSING = "–"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage: 0.7445 -> '74.5%' (half away from zero, as readers round)."""
    return _shown(value, lambda v: f"{_rounded(v * 100, digits)}%")


def count(value: float | None) -> str:
    """A whole number with thousands separators: 5918 -> '5,918'."""
    return _shown(value, lambda v: f"{v:,.0f}")


def nats(value: float | None) -> str:
    """A divergence in nats: 0.017145 -> '0.0171', 3.1e-07 -> '3.1×10⁻⁷'; null in a file means not finite."""
    if value is None:
        return "∞"

    def show(v: float) -> str:
        if v == 0 or abs(v) >= 1e-3:
            return f"{v:.4f}" if v else "0"
        mantissa, exponent = f"{v:.1e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"

    return _shown(value, show)


def duration(value: float | None) -> str:
    """Seconds as the paper prints them: 661 -> '11m 1s', 180 -> '3m', 7.25 -> '7.3s', 42 -> '42s', 4000 -> '1h 6m'."""

    def show(v: float) -> str:
        if v < 59.5:
            return f"{_rounded(v, 1 if 0 < v < 9.95 else 0)}s"
        total = round(v)
        if total < 3600:
            return f"{total // 60}m {total % 60}s".removesuffix(" 0s")
        return f"{total // 3600}h {total % 3600 // 60}m"

    return _shown(value, show)


def decimal(value: float | None, digits: int = 3) -> str:
    """A plain decimal number: 0.51234 -> '0.512'."""
    return _shown(value, lambda v: _rounded(v, digits))


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for a terminal, its columns padded to the widest cell; no line for no row."""
    if not table:
        return []
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
    ]


def exact(show: Callable[..., str]) -> Callable[..., Markup]:
    """Wraps a formatter so that it gives `<data value="exact">shown</data>`, or a dash where there is no number."""

    def element(value: Any, *args: Any) -> Markup:
        text = show(value, *args)
        if not _is_number(value):
            return Markup("<span>{}</span>").format(text)
        return Markup('<data value="{}">{}</data>').format(repr(value), text)

    return element


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _shown(value: Any, show: Callable[[float], str]) -> str:
    return show(value) if _is_number(value) else MISSING


def _rounded(value: float, digits: int) -> str:
    # 12 significant digits first: 0.7445 * 100 is 74.45000000000001, and 0.285 * 100 is 28.499999999999996
    clean = float(f"{value:.12g}")
    scale = 10**digits
    return f"{math.copysign(math.floor(abs(clean) * scale + 0.5 + 1e-9) / scale, clean):.{digits}f}"
