"""Runs the cells of experiments one after another, each a `tfpdu run` of its own; finished ones are passed over."""

import dataclasses
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpdu.common import UserError, files, say
from tfpdu.common.interrupt import safe_point, stopping
from tfpdu.common.run_directory import RunDirectory
from tfpdu.ensemble.settings import PLACEMENT
from tfpdu.experiments.plan import Experiment, Variant
from tfpdu.reporting.run_data import RunData, read_run
from tfpdu.reporting.summary import summarise

LoadPreset = Callable[[str], Any]  # name -> ConfigDict
FREE = tuple(f"config.ensemble.{name}" for name in PLACEMENT)  # settings that change no result
_DOOR = "from tfpdu.cli.main import main; main()"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A variant and a seed: one run.

    Attributes:
      variant: what is run.
      seed: of the run.
      root: of all cells.
      config: the whole configuration, nested.
    """

    variant: Variant
    seed: int
    root: Path
    config: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def name(self) -> str:
        """For a reader: "cifar10, seed 0"."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def workdir(self) -> Path:
        """The run directory."""
        return self.root / self.variant.name / f"seed-{self.seed}"

    @property
    def words(self) -> list[str]:
        """`tfpdu`'s arguments that make the run."""
        changed = [f"--config.{key}={value}" for key, value in (("seed", self.seed), *self.variant.overrides)]
        return ["run", f"--config={self.variant.config}", *changed, f"--workdir={self.workdir}"]

    @property
    def command(self) -> str:
        """The same as one types it."""
        return "tfpdu " + shlex.join(self.words)

    def found(self) -> RunData | None:
        """The run as far as it is there."""
        return read_run(self.workdir) if (self.workdir / "config.json").is_file() else None

    @property
    def done(self) -> bool:
        """Whether the run came to its end; raises `UserError` where the directory is another configuration's."""
        run = self.found()
        if run is None:
            return False
        RunDirectory(self.workdir, self.config, free=FREE)
        return summarise(run).finished and (self.workdir / "report.html").is_file()

    @property
    def notes(self) -> Path:
        """JSON with the seconds that it took, beside the run directory."""
        return self.workdir.with_suffix(".json")


@dataclasses.dataclass(frozen=True)
class Changes:
    """What a user changes of all cells.

    Attributes:
      seeds: in place of an experiment's own; empty: those.
      gpu: whether to run the twins at full scale.
      initial: weights for the variants that start from some; empty: as the preset names them.
      generator: a trained generator for all variants with lineage "public"; empty: as the preset says.
    """

    seeds: tuple[int, ...] = ()
    gpu: bool = False
    initial: str = ""
    generator: str = ""


def cells_of(experiments: Sequence[Experiment], root: Path, load: LoadPreset, changes: Changes) -> list[Cell]:
    """The cells of experiments, each once, in their order.

    Args:
      experiments: what is to be found out.
      root: below which the run directories are; full-scale ones in a directory of their own.
      load: gives the config of a preset.
      changes: of all cells.

    Raises:
      UserError: a preset or an override that there is not.
    """
    found: dict[str, Cell] = {}
    for experiment in experiments:
        for seed in changes.seeds or experiment.seeds:
            for variant in experiment.variants:
                cell = cell_of(variant, seed, root, load, changes)
                found.setdefault(cell.name, cell)
    return list(found.values())


def cell_of(variant: Variant, seed: int, root: Path, load: LoadPreset, changes: Changes) -> Cell:
    """The cell of a variant and a seed, with the user's changes."""
    variant = variant.twin if changes.gpu else variant
    config = load(variant.config)
    _apply(config, (*variant.overrides, ("seed", seed)), variant.name)
    more: list[tuple[str, Any]] = []
    if changes.initial and config.ensemble.initial:
        more.append(("ensemble.initial", changes.initial))
    if changes.generator and config.generator.lineage == "public" and config.augment.method == "diffusion":
        more.append(("generator.pretrained", changes.generator))
    _apply(config, more, variant.name)
    variant = dataclasses.replace(variant, overrides=(*variant.overrides, *more))
    return Cell(variant, seed, root / "gpu" if changes.gpu else root, config.to_dict())


def _apply(config: Any, overrides: Sequence[tuple[str, Any]], name: str) -> None:
    for key, value in overrides:
        *rooms, leaf = key.split(".")
        try:
            node = config
            for room in rooms:
                node = node[room]
            node[leaf] = value
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise UserError(f"variant {name}: {key}={value!r}: {str(error).splitlines()[0]}") from None


class Campaign:
    """Runs cells and tells how far they are.

    Args:
      cells: to be run, in this order.
      minutes: {variant: minutes} where a forecast was made.
      poll_seconds: between two looks at a run.
      every_seconds: the least time between two lines on a run.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        minutes: Mapping[str, float] | None = None,
        poll_seconds: float = 1.0,
        every_seconds: float = 60.0,
    ):
        self._cells, self._minutes = list(cells), dict(minutes or {})
        self._poll, self._every = poll_seconds, every_seconds

    def run(self, on_done: Callable[[Cell], None]) -> list[str]:
        """Runs what is not done.

        Args:
          on_done: called for each cell when it is done, and for those that are so already.

        Returns:
          A line for each cell that failed; the others went on.

        Raises:
          StopRequested: a signal came; the run has stopped at a safe point, and the same call goes on from there.
        """
        failed = []
        for number, cell in enumerate(self._cells, 1):
            safe_point()
            head = f"{number}/{len(self._cells)} {cell.name}"
            if cell.done:
                say(f"{head}: done already")
                on_done(cell)
                continue
            say(f"{head}: {cell.command}")
            code = self._run(cell, head)
            safe_point()
            if code == 0 and cell.done:
                on_done(cell)
                say(f"{head}: done in {self._spent(cell) / 60:.1f} min; {self._left(number)}")
            else:
                failed.append(f"{cell.name}: exit code {code}, {self._last_words(cell)}")
                say(f"{head}: failed, {self._last_words(cell)}")
        return failed

    def minutes_left(self, first: int = 0) -> float | None:
        """Minutes of the cells from this one on that are not done; None where nothing is known of any."""
        known = [self._estimate(cell) for cell in self._cells[first:] if not cell.done]
        told = [minutes for minutes in known if minutes is not None]
        if known and not told:
            return None
        return sum(told) * len(known) / max(len(told), 1)

    def _run(self, cell: Cell, head: str) -> int:
        """The exit code of the run; a signal is passed on to it once."""
        cell.workdir.parent.mkdir(parents=True, exist_ok=True)
        start, before, told, passed = time.monotonic(), self._spent(cell), time.monotonic(), False
        with open(cell.workdir.with_suffix(".log"), "ab") as log:
            # A session of its own: Ctrl-C on the terminal would reach it twice.
            child = subprocess.Popen(
                [sys.executable, "-c", _DOOR, *cell.words], stdout=log, stderr=log, start_new_session=True
            )
            try:
                while child.poll() is None:
                    if stopping() and not passed:
                        child.terminate()
                        passed = True
                    if time.monotonic() - told >= self._every:
                        told = time.monotonic()
                        say(f"{head}: {self._progress(cell)}, {(before + told - start) / 60:.0f} min so far")
                    time.sleep(self._poll)
            finally:
                if child.poll() is None:
                    child.kill()
        files.write_json(cell.notes, {"seconds": before + time.monotonic() - start, "command": cell.command})
        return child.returncode

    def _progress(self, cell: Cell) -> str:
        run = cell.found()
        if run is None or not run.iterations():
            return "before iteration 0"
        return f"iteration {run.iterations()[-1]['iteration']} of {self._last(run)} done"

    @staticmethod
    def _last(run: RunData) -> int:
        until = run.setting("loop.until")
        return int(run.setting("loop.iterations") if until is None or until < 0 else until)

    def _left(self, first: int) -> str:
        minutes = self.minutes_left(first)
        return "no estimate of the rest" if minutes is None else f"about {minutes / 60:.1f} h left"

    def _estimate(self, cell: Cell) -> float | None:
        """Minutes: of a finished cell of the variant, else as forecast."""
        siblings = [other for other in self._cells if other.variant == cell.variant and other.done]
        if siblings:
            return sum(map(self._spent, siblings)) / len(siblings) / 60
        return self._minutes.get(cell.variant.name)

    @staticmethod
    def _spent(cell: Cell) -> float:
        return float(files.read_json(cell.notes)["seconds"]) if cell.notes.is_file() else 0.0

    @staticmethod
    def _last_words(cell: Cell) -> str:
        log = cell.workdir.with_suffix(".log")
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.is_file() else []
        told = [re.sub(r"^tfpdu: ", "", line) for line in lines if line.strip()]
        return told[-1] if told else "without a word"
