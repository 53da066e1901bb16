"""Where a study's synthetic rows come from: a run that is there, a generator that is named, or one trained here."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.augment import replenish
from tfpdu.bias import Prior
from tfpdu.common import UserError
from tfpdu.common.cells import Line
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records, concatenate
from tfpdu.material import Material
from tfpdu.settings import Settings
from tfpdu.state import State
from tfpdu.steps import FIRST

TRAIN = "train"  # for --generator


class Unavailable(Exception):
    """There are no synthetic rows, and no fault in that. Says why."""


class Source:
    """Synthetic rows of a study; nothing is loaded, trained or drawn before it is asked for.

    Args:
      which: the directory of a run of the same rows, "train", or "" for the generator that the config names.
      config: of the study, a run's.
      material: the study's rows.
      directory: of the study; what is trained and drawn here is kept below it.
    """

    def __init__(self, which: str, config: dict[str, Any], material: Material, directory: Path):
        self._which, self._material, self._directory = which, material, directory
        self._config = {**config, "augment": {**config["augment"], "method": "diffusion"}}

    @property
    def name(self) -> str:
        """What the user names: a directory, "train", or the config's generator; "" where nothing is named."""
        return self._which or self._settings.pretrained

    @property
    def sees_deleted(self) -> bool:
        """Whether rows of S trained the generator, so that a deletion does not reach what it learned."""
        return bool(self._settings.generator.lineage != "public")

    @property
    def strangers(self) -> int:
        """How many rows outside S there are for a generator that learns no row of S; 0 for others."""
        return 0 if self.sees_deleted else len(self._material.pools.public)

    def outdated(self, line: Line) -> bool:
        """Whether a cell is to be measured again: it was skipped, or another generator than the named one is in it."""
        return "skipped" in line or bool(self.name and line.get("source", self.name) != self.name)

    def debiased(self) -> Records:
        """S with the rows that Algorithm 1 adds.

        Raises:
          Unavailable: no generator is at hand, or it is not good enough.
          UserError: the run is of other rows.
        """
        self._check()
        return self._debiased

    def replenished(self, left: Records, prior: Prior, count: int, seed: int) -> Records:
        """S after a deletion, with as many synthetic rows as were lost, where the prior wants them (Algorithm 2)."""
        self._check()
        options = self._replenishing
        augment = self._settings.augment
        made = replenish(
            left, prior, count, settings=augment, seed=seed, iteration=1, reference=self._material.drawn, **options
        )
        return concatenate([left, made.records])

    def _check(self) -> None:
        if not self.name:
            raise Unavailable("no generator: give --generator=<run directory> or train, or config.generator.pretrained")
        try:
            _ = self._debiased
        except UserError as error:
            if self._which not in ("", TRAIN):
                raise
            raise Unavailable(str(error)) from None

    @functools.cached_property
    def _settings(self) -> Settings:
        if self._which in ("", TRAIN):
            return Settings.from_config(self._config)
        return Settings.from_config(RunDirectory.existing(self._which).config)

    @functools.cached_property
    def _state(self) -> State:
        if self._which in ("", TRAIN):
            run = RunDirectory(self._directory / "generator_run", self._config)
            return State.of(self._material, self._settings, run, frozenset())
        if self._settings.augment.method != "diffusion":
            raise UserError(
                f"--generator={self._which}: a run of config.augment.method={self._settings.augment.method}"
            )
        run = RunDirectory.existing(self._which)
        with run.lock():
            state = State.open(self._settings, run)
        own, theirs = self._material, state.material
        for words, mine, others in (("S", own.drawn, theirs.drawn), ("test rows", own.pools.test, theirs.pools.test)):
            if not np.array_equal(np.sort(mine.ids), np.sort(others.ids)):
                raise UserError(
                    f"--generator={self._which}: a run of other {words}; expected the same data, pools, draw and seed"
                )
        return state

    @functools.cached_property
    def _debiased(self) -> Records:
        state = self._state
        with state.run.lock():
            if self._which in ("", TRAIN):
                return state.tables.after(FIRST).records
            if not state.run.file("samples", f"{FIRST.name}.npz").exists():  # they are not made in a run of the user's
                raise UserError(
                    f"--generator={self._which}: the samples of its iteration 0 are not there; name a run that was made"
                    " with --config.loop.until=0"
                )
            return state.tables.now(FIRST).records

    @functools.cached_property
    def _replenishing(self) -> dict[str, Any]:
        synthesis = self._state.tables.synthesis
        assert synthesis is not None  # the method is diffusion
        return synthesis.replenishing()
