"""What is learned after each step of a run: which originals are left, what stands in for the others, and where."""

import dataclasses
from typing import Any

import numpy as np

from tfpdu.augment import debias
from tfpdu.bias import Prior
from tfpdu.bias.resample import source_id
from tfpdu.common import UserError, files, say
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records
from tfpdu.material import Material
from tfpdu.settings import Settings
from tfpdu.steps import FIRST, Step
from tfpdu.synthesis import Exhausted, Samples, Synthesis, Table, join
from tfpdu.unlearning.plan import NEVER, BasePlan, plan_bases


class Tables:
    """The table after each step.

    Args:
      material: pools, S, its shards and when each row leaves.
      prior: D; None will do for what is there already.
      settings: of the run.
      run: its directory.
      deleted: ids of rows that were deleted on request.
    """

    def __init__(
        self, material: Material, prior: Prior | None, settings: Settings, run: RunDirectory, deleted: frozenset[str]
    ):
        self._material, self._prior, self._settings, self._run = material, prior, settings, run
        self.deleted = deleted
        self._made: Synthesis | None = None

    @property
    def synthesis(self) -> Synthesis | None:
        """What makes the synthetic rows, with its generator; None with a plain alternative to diffusion."""
        if self._made is None and self._settings.augment.method == "diffusion":
            assert self._prior is not None
            self._made = Synthesis(self._material, self._prior, self._settings, self._run, self.deleted)
        return self._made

    def originals(self, step: Step) -> Table:
        """The originals that a step leaves: neither scheduled to be forgotten by then, nor deleted on request."""
        drawn = self._material.drawn
        left = (self._material.leaves > step.iteration) & ~np.isin(drawn.ids, sorted(self.deleted))
        return Table(drawn.take(left), self._material.shard[left], self._material.slice[left])

    def gone(self, step: Step) -> np.ndarray:
        """bool[n]: which originals are forgotten or deleted after a step."""
        return ~np.isin(self._material.drawn.ids, self.originals(step).records.ids)

    def after(self, step: Step, gone: np.ndarray | None = None) -> Table:
        """S after a step: the originals left, and the synthetic rows that stand in for the others.

        Args:
          step: an iteration, or a deletion round.
          gone: ids of the originals that it forgets; by default those that an iteration is to forget.

        Raises:
          Exhausted: an iteration's rows cannot be learned from. A deletion round happens all the same: it learns the
            originals left without any that stand in.
        """
        if gone is None:
            drawn = self._material.drawn
            gone = drawn.ids[(self._material.leaves == step.iteration) & ~np.isin(drawn.ids, sorted(self.deleted))]
        originals = self.originals(step)
        if self.synthesis is None:
            table = self._plain(step, originals)
            if table is originals:
                method = self._settings.augment.method
                say(f"round {step.round}: too few rows for augment.method={method}, they are learned as they are")
            return self._in_order(step, table)
        table = join(originals, self.synthesis.rows(step, originals, gone))
        if not len(table.records) and not step.round:
            raise Exhausted("no rows are left, and config.augment.replenish=False adds none")
        return self._in_order(step, table)

    def placed(self, step: Step) -> Table:
        """The originals that a step leaves, in the slices where they lie; reads no samples."""
        return self._in_order(step, self.originals(step))

    def now(self, step: Step) -> Table:
        """S as the last step left it; the samples of the step are there."""
        originals = self.originals(step)
        if self._settings.augment.method != "diffusion":
            return self._in_order(step, self._plain(step, originals))
        samples = Samples(self._material.drawn, self._settings, self._run)
        return self._in_order(step, join(originals, samples.after(step)))

    def _plain(self, step: Step, originals: Table) -> Table:
        """The originals debiased by a plain method; a round learns them as they are where that cannot be done."""
        try:
            return self._debiased(step, originals)
        except Exhausted:
            if step.round:
                return originals
            raise

    def _debiased(self, step: Step, originals: Table) -> Table:
        """The plain alternatives to diffusion debias what is left and replenish nothing."""
        if not len(originals.records):
            raise Exhausted(
                f"no originals are left, and config.augment.method={self._settings.augment.method} adds none"
            )
        assert self._prior is not None
        options: dict[str, Any] = {"settings": self._settings.augment, "seed": self._settings.seed}
        try:
            result = debias(originals.records, self._prior, None, **options, iteration=step.makes)
        except UserError as error:
            if step == FIRST:
                raise
            raise Exhausted(str(error)) from None  # too few rows are left for this method
        if step == FIRST:
            files.write_json(self._run.file("bias.json"), result.report)
        shard, slices = _where(result.records, originals)
        return Table(result.records, shard, slices, result.weights)

    def _in_order(self, step: Step, table: Table) -> Table:
        """With slice_order=forget, the table with its slices as the plan has them."""
        if self._settings.ensemble.slice_order != "forget":
            return table
        drawn, records = self._material.drawn, table.records
        home = dict(zip(drawn.ids.tolist(), self._material.leaves.tolist(), strict=True))
        sources = [source_id(row_id) for row_id in records.ids.tolist()]  # a copy leaves with its original
        leaving = np.array([home.get(source, NEVER) for source in sources])
        made = np.where(np.isin(sources, drawn.ids), -1, records.origin - 1)
        slices = self._plan(len(records)).slices(step.iteration, leaving, made)
        return dataclasses.replace(table, slice=slices)

    def _plan(self, rows: int) -> BasePlan:
        """When each base is made anew; fixed, and recorded, at iteration 0."""
        event = self._run.event("plan")
        if event is None:
            leaving = np.bincount(self._material.leaves, minlength=self._settings.loop.iterations + 1)[1:]
            plan = bases_of(self._settings, rows, leaving.tolist())
            event = {"event": "plan", **dataclasses.asdict(plan), "total_cost": plan.total_cost}
            self._run.record(event)
        lists = {name: tuple(event[name]) for name in ("rebuilds", "shares", "costs")}
        return BasePlan(**lists, keeps_synthetic=event["keeps_synthetic"])


def bases_of(settings: Settings, rows: int, leaving: list[int]) -> BasePlan:
    """When the bases of a run are made anew; arguments as of `plan_bases`."""
    first, last = settings.ensemble.slice_epochs()
    lasting = settings.generator.lineage != "strict"
    return plan_bases(rows, leaving, (last - first) / first, settings.ensemble.base_share, lasting)


def _where(records: Records, originals: Table) -> tuple[np.ndarray, np.ndarray]:
    """Shard and slice of rows kept or copied from originals: a copy stays where its source is."""
    home = dict(zip(originals.records.ids.tolist(), zip(originals.shard, originals.slice, strict=True), strict=True))
    pairs = [home[source_id(row_id)] for row_id in records.ids.tolist()]
    return np.array([s for s, _ in pairs], np.int32), np.array([r for _, r in pairs], np.int32)
