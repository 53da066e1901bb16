"""Does deletion hurt? Forget sets on one group, chosen by an adversary, and at random; exact deletion, and remedies.

The adversary deletes rows of the group that is worst off already: the one with the lowest accuracy of the model before
the deletion on the auxiliary pool, which is neither trained nor measured on. Of its rows go those that help it most:
with the highest Shapley values for a nearest-neighbour classifier of the group's auxiliary rows, among that model's
last features (`tfpdu.debiasing.valuation`).
"""

import functools
from typing import Any

import keras
import numpy as np

from tfpdu.audit.concentration import concentrated
from tfpdu.augment import AugmentSettings, replenish
from tfpdu.common import UserError
from tfpdu.common.cells import Cells, Line
from tfpdu.common.seeds import hashed_order
from tfpdu.data import Records, concatenate
from tfpdu.debiasing.methods import NONE, REWEIGH, plain_lesson
from tfpdu.debiasing.source import Source, Unavailable
from tfpdu.debiasing.study import Study, StudySettings, note
from tfpdu.debiasing.training import Lesson
from tfpdu.debiasing.valuation import last_features, neighbour_values

BEFORE = "before"
FORGETS = {
    "random": "at random from all of S",
    "concentrated": "at random from the smallest group",
    "adversary": "of the worst-off group that help it most",
}
PLAIN, REPLENISHED = "plain", "replenished"
COPIES = "copies"  # what replenishes without a generator
REMEDIES = {
    PLAIN: "retrained without them",
    REPLENISHED: "retrained with as many new rows",
    REWEIGH: "retrained without them, what is left weighed to the prior",
}


class Deletion:
    """The deletion study, in a directory that this process holds.

    Args:
      study: rows and training.
      settings: seeds and share.
      cells: the results, <seed>/<arm>.json, with arm "before/plain" or <forget set>/<remedy>.
      source: of synthetic rows; without one, replenishing copies rows.
    """

    def __init__(self, study: Study, settings: StudySettings, cells: Cells, source: Source):
        self.study, self.settings, self.cells, self.source = study, settings, cells, source

    @property
    def arms(self) -> list[str]:
        """What is trained for each seed, in order."""
        before = [f"{BEFORE}/{PLAIN}", f"{BEFORE}/{REWEIGH}"]
        return before + [f"{forget}/{remedy}" for forget in FORGETS for remedy in REMEDIES]

    @property
    def names(self) -> list[str]:
        """Of all cells in the order in which they are run."""
        return [f"seed-{seed}/{arm}" for seed in self.settings.seeds for arm in self.arms]

    @functools.cached_property
    def rows(self) -> int:
        """How many rows each request takes: the share of the smallest group, rounded up."""
        codes, names = self.study.groups(self.study.records)
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        return int(np.ceil(self.settings.share * counts[counts > 0].min()))

    def results(self) -> list[Line]:
        """The lines of the cells that are done."""
        return self.cells.results(self.names)

    def run(self) -> None:
        """Runs the cells that are not done, and again those that were skipped or are of another generator."""
        self.cells.drop(self.names, self.source.outdated)
        self.cells.run("deletion", self.names, self._measure, note)

    def _measure(self, name: str) -> Line:
        place, forget, remedy = name.split("/")
        seed = int(place.removeprefix("seed-"))
        head: Line = {"arm": f"{forget}/{remedy}", "seed": seed}
        gone = np.zeros(len(self.study.records), bool)
        if forget != BEFORE:
            gone, group = self._forgotten(forget, seed)
            warnings = [loss.as_line() for loss in concentrated(self.study.records, gone)]
            head |= {"group": group, "forgotten": int(gone.sum()), "warnings": warnings}
        try:
            lesson, how = self._lesson(gone, remedy, seed)
        except UserError as error:
            if remedy == PLAIN:
                raise
            return head | {"skipped": str(error)}
        model = self.study.learn(lesson, seed)
        head |= {"source": self.source.name if how != COPIES else ""} if how else {}
        head |= {"how": how, "rows": len(lesson.rows), "steps": self.study.course.steps} | self.study.measure(
            model, lesson.rows
        )
        if forget == BEFORE and remedy == PLAIN:
            head["adversary"] = self._adversary(model)
        return head

    # ---- who is forgotten ------------------------------------------------------------------------

    def _forgotten(self, forget: str, seed: int) -> tuple[np.ndarray, str]:
        """bool[n]: the rows of S that go; and the name of the group to look at."""
        records = self.study.records
        codes, names = self.study.groups(records)
        counts = np.bincount(codes[codes >= 0], minlength=len(names))
        smallest = int(np.argmin(np.where(counts > 0, counts, len(records) + 1)))
        gone = np.zeros(len(records), bool)
        if forget == "adversary":
            chosen = self.cells.read(f"seed-{seed}/{BEFORE}/{PLAIN}")["adversary"]
            gone[records.rows_of(chosen["ids"])] = True
            return gone, str(chosen["group"])
        order = hashed_order(records.ids.tolist(), seed, "deletion study", forget)
        may = np.ones(len(order), bool) if forget == "random" else codes[order] == smallest
        gone[order[may][: self.rows]] = True
        return gone, names[smallest]

    def _adversary(self, model: keras.Model) -> dict[str, Any]:
        """The ids to delete, and of which group, see above."""
        records, auxiliary = self.study.records, self.study.auxiliary
        codes, names = self.study.groups(records)
        found = self.study.measures_on(model, auxiliary)["groups"]
        there = [name for code, name in enumerate(names) if name in found and (codes == code).any()]
        worst = min(there, key=lambda name: found[name]["value"])
        own = np.flatnonzero(codes == names.index(worst))
        asked = auxiliary.take(self.study.groups(auxiliary)[0] == names.index(worst))
        features = last_features(model, records.images)
        values = neighbour_values(features, records.labels, last_features(model, asked.images), asked.labels)
        best = own[np.lexsort([records.ids[own], -values[own]])][: self.rows]
        return {"group": worst, "ids": records.ids[best].tolist()}

    # ---- what is learned after it -------------------------------------------------------------------

    def _lesson(self, gone: np.ndarray, remedy: str, seed: int) -> tuple[Lesson, str]:
        """What is left to learn, and a word on where new rows came from."""
        study = self.study
        left = study.records.take(~gone) if gone.any() else study.records
        if remedy == REPLENISHED:
            rows, how = self._replenished(left, int(gone.sum()), seed)
            return Lesson(rows, np.ones(len(rows))), how
        method = REWEIGH if remedy == REWEIGH else NONE
        return plain_lesson(method, left, study.prior, study.settings.augment, seed, self.settings.eta), ""

    def _replenished(self, left: Records, count: int, seed: int) -> tuple[Records, str]:
        study = self.study
        try:
            rows = self.source.replenished(left, study.prior, count, seed)
            words = "samples of a generator that rows of S trained" if self.source.sees_deleted else "samples"
            return rows, words
        except Unavailable:
            copying = AugmentSettings("oversample")
            made = replenish(left, study.prior, count, None, settings=copying, seed=seed, iteration=1)
            return concatenate([left, made.records]), COPIES
