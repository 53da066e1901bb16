"""Checks on arguments, with uniform one-line messages (raise `UserError`)."""

import difflib
from collections.abc import Iterable
from typing import Any

import numpy as np

from tfpdu.common.errors import UserError


def positive(**values: float) -> None:
    """Raises unless every value is a finite number above 0."""
    for name, value in values.items():
        if not _finite(value) or value <= 0:
            raise UserError(f"{name}: expected a number above 0, got {value!r}")


def non_negative(**values: float) -> None:
    """Raises unless every value is a finite number of at least 0."""
    for name, value in values.items():
        if not _finite(value) or value < 0:
            raise UserError(f"{name}: expected a number of at least 0, got {value!r}")


def in_range(low: float, high: float, /, **values: float) -> None:
    """Raises unless every value lies in the closed range [low, high]."""
    for name, value in values.items():
        if not (_finite(value) and low <= value <= high):
            raise UserError(f"{name}: expected a number from {low} to {high}, got {value!r}")


def one_of(choices: Iterable[str], /, **values: str) -> None:
    """Raises unless every value is among the choices; names the nearest right one."""
    choices = sorted(choices)
    for name, value in values.items():
        if value not in choices:
            raise UserError(f"{name}: unknown {value!r}{did_you_mean(value, choices)}; known: {', '.join(choices)}")


def distribution(**values: Any) -> None:
    """Raises unless every value is a vector of probabilities that sums to 1 within 1e-6."""
    for name, value in values.items():
        try:
            p = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise UserError(f"{name}: expected a vector of probabilities, got {value!r}") from None
        if p.ndim != 1 or not p.size or not np.all(np.isfinite(p)) or np.any(p < 0):
            raise UserError(f"{name}: expected probabilities of at least 0, got {list(p.ravel())}")
        if abs(p.sum() - 1) > 1e-6 + 1e-12:  # three times 0.333333 is right
            raise UserError(f"{name}: the probabilities sum to {p.sum():.6g}, expected 1")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Returns ', did you mean X?' for the nearest choice, or an empty string."""
    near = difflib.get_close_matches(str(word), [str(c) for c in choices], 1, 0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and bool(np.isfinite(value))
