"""What every step of a run works with: settings, data, prior, the learner, the tables, the ledger."""

import dataclasses
from pathlib import Path

import numpy as np

from tfpdu.bias import Prior
from tfpdu.common import UserError
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Pools, Records
from tfpdu.ensemble import Ensemble
from tfpdu.material import Material, prepare_data
from tfpdu.preparation import fit_prior
from tfpdu.settings import Settings
from tfpdu.steps import Step, last_step
from tfpdu.synthesis import Table
from tfpdu.tables import Tables
from tfpdu.unlearning import Ledger, ShardedLearner


@dataclasses.dataclass(frozen=True)
class State:
    """The state that the steps share, as of the deletions that are done.

    Attributes:
      settings: of the run.
      run: its directory.
      material: pools without the rows that were deleted, and S with them, as long as they are kept for study.
      prior: D.
      learner: of the ensemble.
      tables: what is learned after each step.
    """

    settings: Settings
    run: RunDirectory
    material: Material
    prior: Prior
    learner: ShardedLearner
    tables: Tables

    @classmethod
    def open(cls, settings: Settings, run: RunDirectory) -> "State":
        """Prepares the data, or finds them as they were recorded; no step may use what finished rounds deleted.

        Args:
          settings: of the run.
          run: its directory, held by this process.
        """
        material, ledger = prepare_data(settings, run), open_ledger(run)
        return cls.of(material, settings, run, ledger.deleted(material.ids) if ledger else frozenset())

    @classmethod
    def of(cls, material: Material, settings: Settings, run: RunDirectory, deleted: frozenset[str]) -> "State":
        """The state on data that are loaded, as if these rows had been deleted."""
        material = dataclasses.replace(material, pools=_without(material.pools, deleted))
        prior = fit_prior(material, settings, run)
        tables = Tables(material, prior, settings, run, deleted)
        return cls(settings, run, material, prior, learner_of(material, settings, run.path), tables)


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a step has left: the state, the table that is learned, and its ensemble."""

    state: State
    step: Step
    table: Table
    ensemble: Ensemble


def standing(settings: Settings, run: RunDirectory, iteration: int | None = None) -> Standing:
    """The ensemble of a run directory, which this process holds; nothing in it is changed.

    Args:
      settings: of the run.
      run: its directory.
      iteration: whose ensemble; None: the last step's, deletion rounds included.

    Raises:
      UserError: no iteration is done, or the weights are not there any more.
    """
    last = last_step(run)
    if last is None:
        raise UserError(f"--workdir={run.path}: no iteration is done, so there is no model")
    step = last if iteration is None else Step(iteration)
    if step > last:
        raise UserError(f"--iteration={iteration}: the last one that is done is {last.iteration}")
    state = State.open(settings, run)
    table = state.tables.now(step)
    if not len(table.records):
        raise UserError(f"--workdir={run.path}: no row is left to learn from, so there is no model")
    ensemble = state.learner.found(table.records, table.shard, table.slice, table.weights)
    if ensemble is None:
        raise UserError(
            f"--workdir={run.path}: the weights of step {step.name} are not there; a later step replaced them, or this"
            " version of tfpdu, its settings or libraries are others than the run's"
        )
    return Standing(state, step, table, ensemble)


def learner_of(material: Material, settings: Settings, directory: str | Path) -> ShardedLearner:
    """The run's learner, with its shards in `directory`."""
    return ShardedLearner(
        directory,
        settings.ensemble,
        settings.views,
        classes=material.drawn.classes,
        input_shape=material.drawn.images.shape[1:],
        seed=settings.seed,
    )


def open_ledger(run: RunDirectory) -> Ledger | None:
    """The deletion ledger, or None where nothing was ever asked for."""
    return Ledger.found(run.path)


def _without(pools: Pools, deleted: frozenset[str]) -> Pools:
    if not deleted:
        return pools
    gone = sorted(deleted)
    tables: dict[str, Records] = {field.name: getattr(pools, field.name) for field in dataclasses.fields(Pools)}
    return Pools(**{name: table.take(~np.isin(table.ids, gone)) for name, table in tables.items()})
