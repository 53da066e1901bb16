"""Does debiasing by diffusion help? Methods x seeds, each trained alike and measured on the test rows."""

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.cells import Cells, Line
from tfpdu.debiasing.methods import DIFFUSION, NONE, plain_lesson
from tfpdu.debiasing.source import Source, Unavailable
from tfpdu.debiasing.study import Study, StudySettings, note
from tfpdu.debiasing.training import Lesson


class Comparison:
    """The comparison of methods, in a directory that this process holds.

    Args:
      study: rows and training.
      settings: methods and seeds.
      cells: the results, <seed>/<method>.json.
      source: of synthetic rows.
    """

    def __init__(self, study: Study, settings: StudySettings, cells: Cells, source: Source):
        self.study, self.settings, self.cells, self.source = study, settings, cells, source

    @property
    def names(self) -> list[str]:
        """Of all cells in the order in which they are run."""
        methods = dict.fromkeys([NONE, *self.settings.methods])
        return [f"seed-{seed}/{method}" for seed in self.settings.seeds for method in methods]

    def results(self) -> list[Line]:
        """The lines of the cells that are done."""
        return self.cells.results(self.names)

    def run(self) -> None:
        """Runs the cells that are not done, and again those that were skipped or are of another generator."""
        self.cells.drop(self.names, self.source.outdated)
        self.cells.run("debiasing", self.names, self._measure, note)

    def _measure(self, name: str) -> Line:
        place, _, method = name.partition("/")
        seed = int(place.removeprefix("seed-"))
        head: Line = {"arm": method, "seed": seed}
        try:
            lesson = self._lesson(method, seed)
        except (Unavailable, UserError) as error:
            if isinstance(error, UserError) and method in (NONE, DIFFUSION):
                raise
            return head | {"skipped": str(error)}
        head |= {"source": self.source.name} if method == DIFFUSION else {}
        model = self.study.learn(lesson, seed)
        return (
            head | {"rows": len(lesson.rows), "steps": self.study.course.steps} | self.study.measure(model, lesson.rows)
        )

    def _lesson(self, method: str, seed: int) -> Lesson:
        study = self.study
        if method == DIFFUSION:
            rows = self.source.debiased()
            return Lesson(rows, np.ones(len(rows)))
        return plain_lesson(method, study.records, study.prior, study.settings.augment, seed, self.settings.eta)
