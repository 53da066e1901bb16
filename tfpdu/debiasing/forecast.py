"""How long a study will take: by its own cells where some are done, else by trying a few steps."""

import time

import numpy as np

from tfpdu.common.cells import Cells
from tfpdu.debiasing.study import Study
from tfpdu.debiasing.training import Lesson
from tfpdu.ensemble.networks import answers

_STEPS = 4  # of a trial, the first of which compiles


def forecast(study: Study, cells: Cells, names: list[str]) -> str:
    """Lines for the terminal: cells, those done, and the minutes that the rest takes; no generator is counted."""
    done = [line for line in cells.results(names) if "skipped" not in line]
    left = sum(not cells.done(name) for name in names)
    seconds = [line["cell_seconds"] for line in done]
    each, words = (
        (float(np.mean(seconds)), f"the mean of {len(seconds)} done") if seconds else (_trial(study), "by trial")
    )
    return "\n".join(
        [
            *(f"cell   {name}{', done' if cells.done(name) else ''}" for name in names),
            f"cells  {len(names)}, {left} left",
            f"steps  {study.course.steps} of {study.course.batch} rows, for each",
            f"time   {left * each / 60:.0f} min ({each:.0f} s a cell, {words}), without what a generator takes",
        ]
    )


def _trial(study: Study) -> float:
    """Seconds of a cell, from a few steps and some test rows."""
    model = study.untrained(0)
    lesson = Lesson(study.records, np.ones(len(study.records)))
    marks = []
    for steps in (1, 1 + _STEPS):  # each compiles anew, so that the difference is the steps alone
        start = time.perf_counter()
        study.course.train(model, lesson, 0, steps)
        marks.append(time.perf_counter() - start)
    images = study.test.images[: min(len(study.test), 200)]
    start = time.perf_counter()
    answers(model, images)
    asking = (time.perf_counter() - start) / len(images)
    return marks[0] + max(marks[1] - marks[0], 0.0) / _STEPS * study.course.steps + asking * len(study.test)
