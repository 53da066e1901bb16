"""How long a benchmark will take: by its own cells where some are done, else by trying a few steps."""

import time

import numpy as np

from tfpdu.unlearning.benchmark.grid import ORIGINAL, RETRAIN, Benchmark
from tfpdu.unlearning.benchmark.measures import Asked
from tfpdu.unlearning.benchmark.models import examples
from tfpdu.unlearning.methods import DescentSettings
from tfpdu.unlearning.methods.descent import Pass, descend, learning

_STEPS = 4  # of training, the first of which compiles
_EPOCHS = 10  # that a method is thought to take


def forecast(benchmark: Benchmark) -> str:
    """Lines for the terminal: cells, those done, and the minutes that the rest takes."""
    cells = benchmark.cells()
    left = [cell for cell in cells if not benchmark.file(cell).exists()]
    seconds = [line["cell_seconds"] for line in benchmark.results() if line["method"] not in (ORIGINAL, RETRAIN)]
    settings, rows = benchmark.settings, len(benchmark.tables.train)
    if seconds:
        each, words = float(np.mean(seconds)), f"the mean of {len(seconds)} that are done"
        rest = each * len(left)
    else:
        compile_seconds, train, ask = _speed(benchmark)
        asked = (rows + settings.held_out + settings.population + len(benchmark.tables.test)) + 44 * settings.audit_rows
        each = 2 * compile_seconds + _EPOCHS * rows * train + asked * ask
        originals = settings.training.epochs * rows * train * len(settings.seeds) * (1 + len(settings.scenarios))
        references = settings.references * settings.training.epochs * train * (rows + settings.held_out) / 2
        rest = each * len(left) + originals + references
        words = f"{1 / train:,.0f} images/s in training, {1 / ask:,.0f} asked, {_EPOCHS} epochs a method"
    return "\n".join(
        [
            f"scenarios  {', '.join(settings.scenarios)}",
            f"methods    {', '.join(dict.fromkeys(cell.method for cell in cells))}",
            f"seeds      {', '.join(map(str, settings.seeds))}",
            f"cells      {len(cells)}, {len(left)} left",
            f"time       {rest / 60:.0f} min ({each:.0f} s a cell: {words})",
        ]
    )


def _speed(benchmark: Benchmark) -> tuple[float, float, float]:
    """Seconds to compile a model, to train an image and to ask about one."""
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
    return compiling, train, (time.perf_counter() - start) / len(rows)
