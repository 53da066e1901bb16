"""The benchmark: methods x scenarios x seeds, each cell measured once and kept; a killed one goes on."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfpdu.audit import References
from tfpdu.common import UserError, files
from tfpdu.common.cells import Cells, Line
from tfpdu.data import Records
from tfpdu.unlearning.benchmark import measures, resistance
from tfpdu.unlearning.benchmark.measures import Answers, Asked, Membership, Population
from tfpdu.unlearning.benchmark.models import Models, Tables, examples, true_class
from tfpdu.unlearning.benchmark.recipes import RETRAIN, RETRAINED, Request, Unlearned, carry_out, recipe, usable
from tfpdu.unlearning.benchmark.scenarios import Scenario, Task
from tfpdu.unlearning.benchmark.settings import BenchmarkSettings
from tfpdu.unlearning.benchmark.sharded import SHARDED

ORIGINAL = "original"  # the model before anything is forgotten, as a line of the table


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method on one scenario with one seed."""

    scenario: Scenario
    seed: int
    method: str

    @property
    def name(self) -> str:
        """Also of its file, below cells/."""
        return f"{self.scenario.slug}/seed-{self.seed}/{self.method.replace(':', '_').replace('.', '_')}"


class Benchmark:
    """A benchmark in a directory, which is its own and held by this process.

    Args:
      settings: what to run.
      tables: the rows.
      directory: exists; cells/<scenario>/<seed>/<method>.json are the results, answers/ the logits, models/ weights.
    """

    def __init__(self, settings: BenchmarkSettings, tables: Tables, directory: Path):
        self.settings, self.tables, self.directory = settings, tables, directory
        self.models = Models(settings, tables, directory / "models")
        self._kept = Cells(directory / "cells")

    def cells(self) -> list[Cell]:
        """All cells in the order in which they are run; the references first."""
        methods = [ORIGINAL, RETRAIN, *(m for m in self.settings.methods if m != RETRAIN)]
        scenarios = [Scenario.parse(name) for name in self.settings.scenarios]
        return [Cell(s, seed, method) for seed in self.settings.seeds for s in scenarios for method in methods]

    def file(self, cell: Cell) -> Path:
        """Where a cell's result is kept."""
        return self._kept.file(cell.name)

    def results(self) -> list[Line]:
        """The lines of all cells that are done, in order."""
        return self._kept.results([cell.name for cell in self.cells()])

    def adopt(self, lines: Sequence[Line]) -> None:
        """Takes cells that were measured elsewhere with the same settings for done.

        Those of the original and the retrained model only where no other of their scenario and seed is left to do,
        since methods are compared with their logits, which lines do not hold.

        Raises:
          UserError: one of them is not among the cells; it would be missing from the results.
        """
        there = {(line["scenario"], line["seed"], line["method"]): line for line in lines}
        keys = {cell: (cell.scenario.name, cell.seed, cell.method) for cell in self.cells()}
        for scenario, seed, method in there.keys() - set(keys.values()):
            raise UserError(f"cells: {method} on {scenario} with seed {seed} is left out by the settings; name it too")
        lacking = {key[:2] for key in keys.values() if key not in there}
        for cell, key in keys.items():
            if key in there and (cell.method not in (ORIGINAL, RETRAIN) or key[:2] not in lacking):
                self._kept.adopt(cell.name, there[key])

    def run(self) -> None:
        """Runs the cells that are not done; raises `StopRequested` after a cell where a signal came."""
        cells = {cell.name: cell for cell in self.cells()}
        self._kept.run("benchmark", list(cells), lambda name: self.measure(cells[name]), _summary)

    # ---- one cell ------------------------------------------------------------------------------

    def measure(self, cell: Cell) -> Line:
        """Unlearns and measures, and keeps nothing but logits of references."""
        task = self.task(cell)
        head = {"scenario": cell.scenario.name, "seed": cell.seed, "method": cell.method}
        requests = self._requests(task)
        if cell.method not in (ORIGINAL, *RETRAINED) and not usable(cell.method, requests[0]):
            return head | {"skipped": "needs retained rows, which are not at hand"}
        steps = [self._step(cell, task, number, done) for number, done in enumerate(self._unlearned(cell, task))]
        return head | {"rows_to_forget": int(task.forget.sum()), "steps": steps, **steps[-1]}

    def _unlearned(self, cell: Cell, task: Task) -> Iterator[Unlearned]:
        """The model after each request."""
        original = self.models.original(cell.seed, task.labels)
        if cell.method == ORIGINAL:
            yield from (Unlearned(original, 0.0) for _ in task.requests)
            return
        # Retraining is the reference, whether or not methods have retained rows at hand.
        requests = self._requests(dataclasses.replace(task, retained=True) if cell.method in RETRAINED else task)
        options = recipe(cell.method, task.scenario, self.settings)
        if cell.method == SHARDED.name:
            original = self.models.committee(cell.seed, task.labels, options)
        if not len(requests[0].forget):
            raise UserError(f"scenario {task.scenario}: no rows to forget")
        strangers = examples(self.tables.auxiliary)
        try:
            yield from carry_out(
                cell.method, options, original, requests, seed=cell.seed, strangers=strangers, build=self.models.build
            )
        except UserError as error:
            raise UserError(f"{cell.name}: {error}") from None

    def _step(self, cell: Cell, task: Task, number: int, done: Unlearned) -> Line:
        """All measures after a request."""
        settings, tables = self.settings, self.tables
        forgotten = np.logical_or.reduce(task.requests[: number + 1])
        split = Population(forgotten, ~task.forget)
        asked = Asked(done.model, tables.train.images.shape[1:])
        found = Answers.of(asked, tables)
        line: Line = {"seconds": done.seconds}
        line |= measures.accuracies(found, tables, task, split) | measures.confusion(found, tables, task, split)
        line |= self._membership.triple(found, tables, split)
        line |= measures.loss_attack(found, tables, split, cell.seed)
        line |= measures.groups(found, tables)
        if number == len(task.requests) - 1:
            line |= measures.views_attacks(asked, tables, split, settings.views, cell.seed, settings.audit_rows)
            line |= measures.shifted(asked, tables, settings.robust_rows or 500, cell.seed)
            line |= resistance.spreads(asked, tables, task, split)
            if settings.robust_rows:
                resisted = (settings.robust_rows, settings.robust_attacks, cell.seed)
                line |= resistance.robustness(asked, tables, task, split, *resisted)
            line["confidence"] = measures.histograms(found, tables, task, split)
        self._keep(cell, number, found, split)
        reference = self._reference(cell, number)
        if reference is not None and cell.method != RETRAIN:
            numbers, logits = reference
            line |= measures.gap(line, numbers) | measures.distance(found, logits, split)
            line["time_ratio"] = done.seconds / numbers["seconds"]
        return measures.as_numbers(line)

    def _keep(self, cell: Cell, number: int, found: Answers, split: Population) -> None:
        """Logits of the original and of the retrained model, with ids, for others to compare with."""
        if cell.method in (ORIGINAL, RETRAIN):
            rows = {"train_ids": self.tables.train.ids, "forget": split.forget, "retain": split.retain}
            logits = {f"{field.name}_logits": getattr(found, field.name) for field in dataclasses.fields(found)}
            more = {"test_ids": self.tables.test.ids, "held_out_ids": self.tables.held_out.ids}
            files.write_npz(self._answers(cell, number), **rows, **logits, **more)

    def _answers(self, cell: Cell, number: int) -> Path:
        return self.directory / "answers" / f"{cell.name}-{number + 1}.npz"

    def _reference(self, cell: Cell, number: int) -> tuple[Line, Answers] | None:
        """Numbers and logits of the model that was retrained for the same request; None before there is one."""
        own = dataclasses.replace(cell, method=RETRAIN)
        if not self.file(own).exists():
            return None
        logits = files.read_npz(self._answers(own, number))
        answers = Answers(**{f.name: logits[f"{f.name}_logits"] for f in dataclasses.fields(Answers)})
        return files.read_json(self.file(own))["steps"][number], answers

    # ---- what the cells share ------------------------------------------------------------------

    def task(self, cell: Cell) -> Task:
        """What a cell is asked to forget."""
        return cell.scenario.task(self.tables.train, cell.seed, functools.partial(self._memorised, cell.seed))

    def _requests(self, task: Task) -> list[Request]:
        rows = examples(self.tables.train, task.labels)
        gone = np.zeros(len(rows), bool)
        requests = []
        for request in task.requests:
            gone = gone | request
            requests.append(Request(rows.take(request), rows.take(~gone) if task.retained else None))
        return requests

    def _memorised(self, seed: int) -> np.ndarray:
        """The original's probability of each training row's class, less the mean of models that did not see it."""
        train = self.tables.train
        rows, references = self._references
        places = {row_id: i for i, row_id in enumerate(rows.ids.tolist())}
        of_train = references[np.array([places[row_id] for row_id in train.ids.tolist()])]
        outs = np.where(of_train.included, np.nan, of_train.probabilities)
        asked = Asked(self.models.original(seed, train.labels), train.images.shape[1:])
        return true_class(asked.logits(train.images), train.labels) - np.asarray(np.nanmean(outs, axis=1))

    @functools.cached_property
    def _references(self) -> tuple[Records, References]:
        return self.models.references()

    @functools.cached_property
    def _membership(self) -> Membership:
        return Membership(*self._references) if self.settings.references else Membership(None, None)


def _summary(line: Line) -> str:
    if "skipped" in line:
        return line["skipped"]
    shown = {"forget": "forget_accuracy", "test": "test_accuracy", "FT AUC": "ft_auc"}
    words = [f"{name} {100 * line[key]:.1f}" for name, key in shown.items() if key in line]
    words += [f"gap {line['average_gap']:.2f}"] if "average_gap" in line else []
    return ", ".join([*words, f"{line['seconds']:.0f} s"])
