"""Settings of methods by a search that knows no more than a user does.

Published tables choose each method's settings by the distance to the retrained model, which is the very thing that a
user has not. Here a method rehearses: it unlearns other rows of the same kind and number, drawn from those that are to
stay, and is judged by what retraining is expected to give, seen on rows that trained nothing. Neither the retrained
model nor the rows that the benchmark forgets have a part. `oracle=True` searches as papers do, to set beside.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.audit import auc
from tfpdu.audit.losses import cross_entropy
from tfpdu.common import UserError, files
from tfpdu.common.interrupt import safe_point
from tfpdu.common.progress import Progress
from tfpdu.common.seeds import rng, stable_hash
from tfpdu.data import Records
from tfpdu.ensemble.aggregate import softmax
from tfpdu.unlearning.benchmark.grid import Benchmark, Cell
from tfpdu.unlearning.benchmark.measures import Asked, like_classes
from tfpdu.unlearning.benchmark.models import examples
from tfpdu.unlearning.benchmark.recipes import EXACT, Request, carry_out, method_of, recipe
from tfpdu.unlearning.benchmark.scenarios import Scenario, Task
from tfpdu.unlearning.methods import Adversaries, AttackSettings, DescentSettings, build_adversaries


@dataclasses.dataclass(frozen=True)
class Between:
    """A number drawn evenly on a logarithmic scale."""

    low: float
    high: float

    def draw(self, generator: np.random.Generator) -> float:
        """To two digits, so that it can be read."""
        value = math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return float(f"{value:.2g}")


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some values."""

    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """Each is as likely."""
        return self.values[int(generator.integers(len(self.values)))]


Space = Mapping[str, Between | OneOf]
_RATE: Space = {"learning_rate": Between(1e-4, 1e-1), "schedule": OneOf(("constant", "cosine"))}
SPACES: dict[str, Space] = {
    "fine_tune_anchored": {**_RATE, "anchor": Between(1e-3, 1.0)},
    "gradient_ascent": {"learning_rate": Between(1e-6, 1e-2)},
    "boundary_shrink": {"learning_rate": Between(1e-6, 1e-2)},
    "l1_sparse": {**_RATE, "alpha": Between(1e-6, 1e-3)},
    "salun": {**_RATE, "ratio": OneOf((0.1, 0.3, 0.5, 0.7, 0.9))},
    "scrub": {"learning_rate": Between(1e-4, 1e-1), "max_epochs": OneOf((1, 2, 3))},
    "eu_k": {"learning_rate": Between(1e-3, 1e-1), "k": OneOf((1, 2, 5, 10))},
    "cf_k": {"learning_rate": Between(1e-3, 1e-1), "k": OneOf((1, 2, 5, 10))},
    "influence": {"scale": Between(0.01, 10.0), "damping": OneOf((0.01, 0.1, 1.0))},
    "woodfisher": {"alpha": Between(0.01, 100.0)},
    "stackelberg": {**_RATE, "alpha": OneOf((0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0))},
    "zero_shot": {"learning_rate": Between(1e-5, 1e-2), "energy": OneOf((0.9, 0.95, 0.99))},
}


def space_of(method: str) -> Space:
    """What is searched for a method: its own space, or rate and schedule where it descends; nothing for others."""
    way = method_of(method)
    if way.name in SPACES:
        return SPACES[way.name]
    return _RATE if issubclass(way.settings, DescentSettings) and method not in EXACT else {}


def rehearsal(scenario: Scenario, task: Task, table: Records, seed: int) -> Task:
    """A task like the given one on rows that it leaves alone: another class for a class, else as many other rows.

    Raises:
      UserError: too few rows are left for that.
    """
    stay, key = ~task.forget, stable_hash("rehearsal", seed) % 2**31
    if scenario.kind == "class":
        others = np.unique(table.labels[stay])
        if len(others) < 2:
            raise UserError(f"scenario {scenario.name}: no other class is left to rehearse with")
        forget = table.labels == others[key % len(others)]
    else:
        count = int(task.forget.sum())
        if 2 * count >= len(table):
            count = int(stay.sum()) // 2
        order = rng("rehearsal", seed, scenario.name).permutation(np.flatnonzero(stay))
        forget = np.zeros(len(table), bool)
        forget[order[: max(1, count)]] = True
    return Task(scenario.name, (forget,), task.labels, task.retained)


def expected_gap(
    before: Asked, after: Asked, table: Records, task: Task, stay: np.ndarray, strangers: Records
) -> float:
    """The distance, in points, to what retraining is expected to give; 0 is best. No retrained model is looked at.

    The mean of four, one for each part of the average gap: forgotten rows should be right as often as strangers of
    their classes are, or never if no row of their classes stays; retained rows, and strangers of retained classes, as
    often as before; and an attack by the loss should not tell forgotten rows from strangers of their classes.

    Args:
      before: the model that has learned all rows.
      after: the one that is to have forgotten.
      table: the training rows.
      task: what was forgotten.
      stay: bool[n], the rows that stay.
      strangers: rows that no model was trained on.
    """
    known = np.isin(strangers.labels, task.labels[stay])
    like = like_classes(strangers, task.labels[task.forget])
    forget = table.take(task.forget)
    labels = task.labels[task.forget]
    old, new = (softmax(model.logits(strangers.images)) for model in (before, after))
    old_kept, kept = (model.logits(table.take(stay).images).argmax(1) == task.labels[stay] for model in (before, after))
    right = new.argmax(1) == strangers.labels
    gone = softmax(after.logits(forget.images))
    target = float(right[like].mean()) if known[like].any() else 0.0
    differences = [
        abs(float(np.mean(gone.argmax(1) == labels)) - target),
        abs(float(kept.mean()) - float(old_kept.mean())),
        abs(float(right[known].mean()) - float(np.mean((old.argmax(1) == strangers.labels)[known]))),
        abs(auc(-cross_entropy(gone, labels), -cross_entropy(new[like], strangers.labels[like])).value - 0.5),
    ]
    return 100 * float(np.mean(differences))


class Tuning:
    """A random search for each method in each scenario, kept trial by trial.

    Args:
      benchmark: whose originals and rows are used; its first seed's.
      trials: settings tried for each method and scenario; the first is the recipe as it is.
      seed: of the draws.
      oracle: judge by the average gap to the retrained model on the benchmark's own forget set, as papers do.
    """

    def __init__(self, benchmark: Benchmark, trials: int, seed: int, oracle: bool = False):
        self.benchmark, self.trials, self.seed, self.oracle = benchmark, trials, seed, oracle
        self.directory = benchmark.directory / ("tuning-oracle" if oracle else "tuning")
        self._adversaries: dict[tuple[str, AttackSettings], Adversaries] = {}

    def pairs(self) -> list[tuple[str, Scenario]]:
        """Method and scenario of every search."""
        settings = self.benchmark.settings
        scenarios = [Scenario.parse(name) for name in settings.scenarios]
        return [(m, s) for s in scenarios for m in settings.methods if space_of(m)]

    def run(self) -> None:
        """Makes the trials that are not there; raises `StopRequested` between two of them."""
        todo = self._trials()
        done = sum(self._file(*trial).exists() for trial in todo)
        with Progress("tuning", len(todo), "trials", done, every_seconds=0) as progress:
            for method, scenario, number in todo:
                path = self._file(method, scenario, number)
                if path.exists():
                    continue
                safe_point()
                drawn = self._draw(method, number)
                found = self._trial(method, scenario, drawn)
                files.write_json(path, {"method": method, "scenario": scenario.name, "settings": drawn, **found})
                progress.advance(1, f"{method} {scenario.name} {drawn}: {found['gap']}")

    def adopt(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Takes trials that were made elsewhere with the same seed for done.

        Raises:
          UserError: one of them is not among these; it would be missing from the results.
        """
        own = {(m, s.name, repr(self._draw(m, number))): self._file(m, s, number) for m, s, number in self._trials()}
        for trial in trials:
            path = own.get((trial["method"], trial["scenario"], repr(trial["settings"])))
            if path is None:
                raise UserError(
                    f"trials: {trial['method']} on {trial['scenario']} with {trial['settings']} is left out by these"
                    " settings; name it too"
                )
            if not path.exists():
                files.write_json(path, trial)

    def left(self) -> list[tuple[str, Scenario, int]]:
        """Method, scenario and number of the trials that are not there."""
        return [trial for trial in self._trials() if not self._file(*trial).exists()]

    def results(self) -> list[dict[str, Any]]:
        """The trials that are there, {method, scenario, settings, gap, seconds}; gap None where the settings failed."""
        paths = [self._file(*trial) for trial in self._trials()]
        return [dict(files.read_json(path)) for path in paths if path.exists()]

    def best(self) -> dict[str, dict[str, Any]]:
        """The recipes to put into a config: {"method@scenario": settings}, with the smallest gap, first of equals."""
        best: dict[str, dict[str, Any]] = {}
        for trial in (trial for trial in self.results() if trial["gap"] is not None):
            name = f"{trial['method']}@{trial['scenario']}"
            if name not in best or trial["gap"] < best[name]["gap"]:
                best[name] = trial
        return {name: dict(trial["settings"]) for name, trial in best.items()}

    def _trials(self) -> list[tuple[str, Scenario, int]]:
        return [(method, scenario, number) for method, scenario in self.pairs() for number in range(self.trials)]

    def _file(self, method: str, scenario: Scenario, number: int) -> Any:
        return self.directory / scenario.slug / method.replace(":", "_") / f"{number}.json"

    def _draw(self, method: str, number: int) -> dict[str, Any]:
        generator = rng("tuning", self.seed, method, number)
        return {name: part.draw(generator) for name, part in space_of(method).items()} if number else {}

    def _trial(self, method: str, scenario: Scenario, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """The gap of one set of settings; None where it fails, such as by a rate at which the loss is not finite."""
        whole, name = self.benchmark.settings, f"{method}@{scenario.name}"
        recipes = {**whole.recipes, name: {**whole.recipes.get(name, {}), **drawn}}
        settings = dataclasses.replace(whole, recipes=recipes)
        trial = Benchmark(settings, self.benchmark.tables, self.benchmark.directory)
        cell = Cell(scenario, settings.seeds[0], method)
        try:
            if self.oracle:
                line = trial.measure(cell)
                return {"gap": line.get("average_gap"), "seconds": line.get("seconds")}
            return self._rehearse(trial, cell)
        except UserError as error:
            return {"gap": None, "error": str(error)}

    def _rehearse(self, trial: Benchmark, cell: Cell) -> dict[str, Any]:
        """Unlearns rows that are to stay, and sees how near that comes to what retraining is expected to give."""
        tables = trial.tables
        task = trial.task(cell)
        mock = rehearsal(cell.scenario, task, tables.train, self.seed)
        stay = ~(task.forget | mock.forget)
        rows = examples(tables.train, mock.labels)
        request = Request(rows.take(mock.forget), rows.take(stay) if task.retained else None)
        original = trial.models.original(cell.seed, task.labels)
        options = recipe(cell.method, cell.scenario.name, trial.settings)
        if hasattr(options, "adversaries"):  # the dearest part of a trial, and the same in each
            key = (cell.scenario.name, options.attack)
            if key not in self._adversaries:
                self._adversaries[key] = build_adversaries(original, request.forget, options.attack)
            options = dataclasses.replace(options, adversaries=self._adversaries[key])
        done = carry_out(
            cell.method,
            options,
            original,
            [request],
            seed=self.seed,
            strangers=examples(tables.auxiliary),
            build=trial.models.build,
        )[0]
        before, after = (Asked(model, tables.train.images.shape[1:]) for model in (original, done.model))
        # Judged on the population: the auxiliary rows are the auditor's in "stackelberg".
        gap = expected_gap(before, after, tables.train, mock, stay, tables.population)
        return {"gap": gap, "seconds": done.seconds}
