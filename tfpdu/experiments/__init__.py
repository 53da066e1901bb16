"""Experiments as presets: declared, run cell by cell, resumable, collected into tables over seeds."""

from tfpdu.experiments.catalog import KNOWN
from tfpdu.experiments.plan import Contrast, Experiment, Variant, chosen

__all__ = ["KNOWN", "Contrast", "Experiment", "Variant", "chosen"]
