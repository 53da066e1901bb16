"""Conformance suites: what every plug-in of a kind has to do, for ours and for one's own.

Each `check_*` raises `AssertionError` with what is wrong, and returns None if all is well.
"""

from tfpdu.testing.attacks import check_attack, memorised_signals
from tfpdu.testing.edas import check_eda
from tfpdu.testing.methods import check_method, memorised_rows, memorising_network

__all__ = [
    "check_attack",
    "check_eda",
    "check_method",
    "memorised_rows",
    "memorised_signals",
    "memorising_network",
]
