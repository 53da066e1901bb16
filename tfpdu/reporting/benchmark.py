"""What a benchmark of unlearning methods says: a table with mean and spread over seeds, for terminal, CSV and page."""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.reporting.formatting import MISSING, aligned
from tfpdu.unlearning.benchmark.grid import ORIGINAL
from tfpdu.unlearning.benchmark.recipes import AGAIN, RETRAIN, RETRAINED

Line = Mapping[str, Any]

REFERENCES = (ORIGINAL, *RETRAINED)  # what methods are seen against
# key -> (head, factor, digits, meaning)
COLUMNS: dict[str, tuple[str, float, int, str]] = {
    "forget_accuracy": ("forget", 100, 1, "accuracy on the rows to forget, %"),
    "retain_accuracy": ("retain", 100, 1, "accuracy on the rows that stay, %"),
    "test_accuracy": ("test", 100, 1, "accuracy on test rows, %"),
    "ft_auc": (
        "FT AUC",
        100,
        1,
        "forgotten rows against strangers of the same classes by RMIA; 50 is as if never seen",
    ),
    "average_gap": ("gap", 1, 2, "mean distance to the retrained model over the four columns before, points"),
    "loss_attack_same_classes": ("loss attack", 100, 1, "starting kit's attack, strangers of the same classes, %"),
    "loss_attack_all_classes": (
        "all classes",
        100,
        1,
        "the same with strangers of all classes, which tells classes apart",
    ),
    "moments_success_rate": ("Moments", 100, 1, "Moments attack on forgotten rows, %"),
    "time_ratio": ("time", 1, 2, "of retraining's time"),
    "clean_test": ("clean", 100, 1, "accuracy on the test rows that are attacked, %"),
    "robust_fgsm_test": ("FGSM", 100, 1, "of these under FGSM, L-infinity 8/255, %"),
    "robust_pgd_linf_test": ("PGD", 100, 1, "under PGD-20, L-infinity 8/255, %"),
    "robust_pgd_l2_test": ("PGD L2", 100, 1, "under PGD-20, L2 0.5, %"),
    "robust_square_test": ("Square", 100, 1, "under the gradient-free square attack, 200 queries, %"),
    "layer_spread_std": ("spread", 1, 3, "layer spread gap (std), mean over normalisation layers"),
    "distance_test": ("distance", 100, 1, "mean total variation from the retrained model's answers on test rows, %"),
}
NAMES = {
    ORIGINAL: "original",
    RETRAIN: "retrain",
    AGAIN: "retrain, other seed",
    "sharded": "sharded (exact)",
    "fine_tune": "fine-tune",
    "fine_tune_anchored": "fine-tune, anchored",
    "gradient_ascent": "gradient ascent",
    "random_labels": "random labels",
    "boundary_shrink": "boundary shrink",
    "l1_sparse": "l1-sparse",
    "salun": "SalUn",
    "scrub": "SCRUB",
    "eu_k": "EU-k",
    "cf_k": "CF-k",
    "amun": "AMUN",
    "amun_adaptive": "AMUN-A",
    "influence": "influence (CG)",
    "woodfisher": "WoodFisher",
    "stackelberg": "Stackelberg",
    "zero_shot": "zero-shot",
}


@dataclasses.dataclass(frozen=True)
class Spread:
    """A measure over seeds: mean, deviation (ddof 1; None of a single seed), and the number of seeds."""

    mean: float
    deviation: float | None
    seeds: int

    def show(self, factor: float = 1.0, digits: int = 1) -> str:
        """'74.3 ±0.4'."""
        text = f"{factor * self.mean:.{digits}f}"
        return text if self.deviation is None else f"{text} ±{factor * self.deviation:.{digits}f}"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A method in a scenario, over seeds.

    Attributes:
      scenario: its name.
      method: its name.
      values: measure -> spread; of measures that every seed has.
      skipped: why it was not run, or "".
      steps: for each request, measure -> spread.
    """

    scenario: str
    method: str
    values: Mapping[str, Spread]
    skipped: str
    steps: tuple[Mapping[str, Spread], ...]

    @property
    def name(self) -> str:
        """For people."""
        return NAMES.get(self.method, self.method)


def entries(lines: Sequence[Line]) -> list[Entry]:
    """The lines of cells, gathered over seeds, in the order in which scenarios and methods first occur."""
    keys = dict.fromkeys((line["scenario"], line["method"]) for line in lines)
    # The scenario decides first, since cells of the second seed come after all of the first one's.
    scenarios = list(dict.fromkeys(key[0] for key in keys))
    return [
        _entry(*key, [line for line in lines if (line["scenario"], line["method"]) == key])
        for key in sorted(keys, key=lambda key: scenarios.index(key[0]))
    ]


def by_scenario(found: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The entries of each scenario, in the order in which scenarios first occur."""
    return {name: [e for e in found if e.scenario == name] for name in dict.fromkeys(e.scenario for e in found)}


def _entry(scenario: str, method: str, lines: Sequence[Line]) -> Entry:
    done = [line for line in lines if "skipped" not in line]
    skipped = "" if done else str(lines[0]["skipped"])
    count = min((len(line["steps"]) for line in done), default=0)
    steps = tuple(_spreads([line["steps"][number] for line in done]) for number in range(count))
    return Entry(scenario, method, _spreads(done), skipped, steps)


def _spreads(lines: Sequence[Line]) -> dict[str, Spread]:
    shared = [k for k, v in lines[0].items() if isinstance(v, int | float) and k != "seed"] if lines else []
    spreads = {}
    for key in shared:
        values = [float(line[key]) for line in lines if line.get(key) is not None]
        if len(values) == len(lines):
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spreads[key] = Spread(float(np.mean(values)), deviation, len(values))
    return spreads


def columns(found: Sequence[Entry]) -> list[str]:
    """The columns that some entry has."""
    return [key for key in COLUMNS if any(key in entry.values for entry in found)]


def as_lines(found: Sequence[Entry]) -> list[str]:
    """Tables for the terminal, one a scenario."""
    shown = columns(found)
    lines: list[str] = []
    for scenario, some in by_scenario(found).items():
        table = [["", *(COLUMNS[key][0] for key in shown)]]
        for entry in some:
            cells = [cell(entry, key) for key in shown]
            table.append([entry.name, *cells] if not entry.skipped else [entry.name, entry.skipped, *cells[1:]])
        lines += [f"{scenario}", *aligned(table), ""]
    return lines


def cell(entry: Entry, key: str) -> str:
    """A number as the table shows it."""
    if key not in entry.values:
        return MISSING
    _, factor, digits, _ = COLUMNS[key]
    return entry.values[key].show(factor, digits)


def as_csv(lines: Sequence[Line]) -> str:
    """Every number of every cell, a line a cell."""
    names = list(dict.fromkeys(k for line in lines for k, v in line.items() if not isinstance(v, dict | list)))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_summary(found: Sequence[Entry]) -> list[dict[str, Any]]:
    """The table as JSON: {scenario, method, seeds, measures: {name: {mean, sd}}}."""
    return [
        {
            "scenario": entry.scenario,
            "method": entry.method,
            **({"skipped": entry.skipped} if entry.skipped else {}),
            "seeds": max((spread.seeds for spread in entry.values.values()), default=0),
            "measures": {key: {"mean": s.mean, "sd": s.deviation} for key, s in entry.values.items()},
        }
        for entry in found
    ]
