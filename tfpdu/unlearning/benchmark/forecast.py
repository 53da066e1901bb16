"""How long a benchmark or its tuning will take: by its own cells where some are done, else by trying a few steps."""

import dataclasses
import time
from typing import Any

import numpy as np

from tfpdu.unlearning.benchmark.grid import ORIGINAL, Benchmark, Cell
from tfpdu.unlearning.benchmark.measures import Asked
from tfpdu.unlearning.benchmark.models import examples
from tfpdu.unlearning.benchmark.recipes import EXACT, RETRAIN, recipe
from tfpdu.unlearning.benchmark.tuning import Tuning
from tfpdu.unlearning.methods import DescentSettings
from tfpdu.unlearning.methods.descent import Pass, descend, learning

_STEPS = 4  # of training, the first of which compiles
_FORGOTTEN = 0.1  # share of the rows that a scenario is thought to forget
_RADII = 5  # that an adversarial picture is thought to need


@dataclasses.dataclass(frozen=True)
class Speed:
    """Of a benchmark's model on this machine, in seconds.

    Attributes:
      compiling: a model.
      train: an image, forward and backward.
      ask: an image, forward.
    """

    compiling: float
    train: float
    ask: float


def forecast(benchmark: Benchmark) -> str:
    """Lines for the terminal: cells, those done, and the minutes that the rest takes."""
    cells, settings = benchmark.cells(), benchmark.settings
    left = [cell for cell in cells if not benchmark.file(cell).exists()]
    done = [line["cell_seconds"] for line in benchmark.results() if line["method"] not in (ORIGINAL, RETRAIN)]
    if done:
        each = float(np.mean(done))
        rest, words = each * len(left), f"the mean of {len(done)} that are done"
    else:
        speed, rows = measured(benchmark), len(benchmark.tables.train)
        asked = (rows + settings.held_out + settings.population + len(benchmark.tables.test)) + 44 * settings.audit_rows
        apart = [_seconds(benchmark, cell, speed) + asked * speed.ask for cell in left]
        each = float(np.mean(apart)) if apart else 0.0
        originals = settings.training.epochs * rows * speed.train * len(settings.seeds)
        shared = settings.references * settings.training.epochs * speed.train * (rows + settings.held_out) / 2
        rest = sum(apart) + originals + shared
        words = f"{1 / speed.train:,.0f} images/s in training, {1 / speed.ask:,.0f} asked"
    return "\n".join(
        [
            f"scenarios  {', '.join(settings.scenarios)}",
            f"methods    {', '.join(dict.fromkeys(cell.method for cell in cells))}",
            f"seeds      {', '.join(map(str, settings.seeds))}",
            f"cells      {len(cells)}, {len(left)} left",
            f"time       {rest / 60:.0f} min ({each:.0f} s a cell: {words})",
        ]
    )


def tuning_forecast(tuning: Tuning) -> str:
    """The same for a search: trials, those done, and the minutes that the rest takes."""
    left, benchmark = tuning.left(), tuning.benchmark
    rows, settings = len(benchmark.tables.train), benchmark.settings
    speed = measured(benchmark)
    # A trial is judged on all rows and the population, before and after.
    asked = 2 * (rows + len(benchmark.tables.population)) * speed.ask
    apart = [_seconds(benchmark, Cell(s, settings.seeds[0], m), speed, attacks=number == 0) for m, s, number in left]
    rest = sum(apart) + len(left) * asked + settings.training.epochs * rows * speed.train
    return "\n".join(
        [
            f"scenarios  {', '.join(settings.scenarios)}",
            f"methods    {', '.join(dict.fromkeys(method for method, _ in tuning.pairs()))}",
            f"trials     {len(left) + len(tuning.results())}, {len(left)} left",
            f"time       {rest / 60:.0f} min ({1 / speed.train:,.0f} images/s in training)",
        ]
    )


def _seconds(benchmark: Benchmark, cell: Cell, speed: Speed, attacks: bool = True) -> float:
    """About how long a method takes; without `attacks`, adversarial pictures are there already."""
    if cell.method == ORIGINAL:
        return speed.compiling
    options: Any = recipe(cell.method, cell.scenario.name, benchmark.settings)
    epochs = float(getattr(options, "epochs", 1))
    if cell.method in EXACT:
        epochs = benchmark.settings.training.epochs * (2 if hasattr(options, "shards") else 1)  # shards learn first
    if hasattr(options, "iterations"):
        epochs = 3 * options.iterations  # of conjugate gradients
    if attacks and hasattr(options, "attack"):
        epochs += _FORGOTTEN * _RADII * options.attack.steps
    return 2 * speed.compiling + epochs * len(benchmark.tables.train) * speed.train


def measured(benchmark: Benchmark) -> Speed:
    """Tries a few steps."""
    settings, tables = benchmark.settings, benchmark.tables
    batch = settings.training.batch
    rows = examples(tables.train).take(np.arange(min(len(tables.train), batch * _STEPS)))
    model = benchmark.models.build(0)
    walk, marks = learning(model, rows), list[float]()

    def noted(epoch: int) -> list[Pass]:
        marks.append(time.perf_counter())
        return [walk]

    plain = DescentSettings(epochs=3, learning_rate=1e-6, batch=batch)
    descend(model, noted, plain, 0)
    end = time.perf_counter()
    train = (end - marks[2]) / len(rows)
    compiling = max(0.0, (marks[1] - marks[0]) - (marks[2] - marks[1]))
    asked = Asked(model, tables.train.images.shape[1:])
    asked.logits(rows.images)
    start = time.perf_counter()
    asked.logits(rows.images)
    return Speed(compiling, train, (time.perf_counter() - start) / len(rows))
