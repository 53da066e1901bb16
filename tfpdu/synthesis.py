"""The synthetic rows of a run: Algorithm 1's at iteration 0, the replenishment after each forgetting.

A step's rows are kept in samples/<step>.npz; a step is an iteration or a deletion round, see `tfpdu.steps`. With
`generator.lineage` "keep" and "public" one generator serves the whole run, and a step adds its rows to those of the
steps before it. With "strict" each deletion retires the generator and everything it made: another is trained on the
originals still there, and all synthetic rows are made anew.
"""

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.augment import Debiased, Generate, Replenished, debias, replenish
from tfpdu.bias import Prior
from tfpdu.common import UserError, files, say
from tfpdu.common.interrupt import safe_point
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records, concatenate
from tfpdu.diffusion import (
    Generator,
    load_generator,
    load_pretrained,
    refuse_impossible_critics,
    require_quality,
    without_copies,
)
from tfpdu.ensemble import assign_new
from tfpdu.material import Material
from tfpdu.preparation import (
    fit_generator_for,
    fit_judge,
    fit_steering,
    generator_rows,
    inspect,
    known_rows,
    note_generator,
    note_traces,
    showcase,
)
from tfpdu.settings import Settings
from tfpdu.steps import FIRST, Step

COPIES = ("redrawn_copies", "kept_copies")  # of the guard's tally


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows to learn, with the shard and slice of each, and where a method weighs them, its weight."""

    records: Records
    shard: np.ndarray
    slice: np.ndarray
    weights: np.ndarray | None = None


def join(*tables: Table) -> Table:
    """One table of several; tables without rows may lack columns that others have."""
    filled = [table for table in tables if len(table.records)] or [tables[0]]
    return Table(
        concatenate([table.records for table in filled]),
        np.concatenate([table.shard for table in filled]),
        np.concatenate([table.slice for table in filled]),
    )


class Exhausted(Exception):
    """The run ends before its last iteration, and well: what is left cannot be learned from. Says why."""


class Samples:
    """The synthetic rows that the steps of a run have made, as they lie in samples/.

    Args:
      drawn: S, whose columns they share.
      settings: of the run.
      run: its directory.
    """

    def __init__(self, drawn: Records, settings: Settings, run: RunDirectory):
        self._template = dataclasses.replace(drawn.take(np.arange(0)), subjects=None)
        self._strict, self._run = settings.generator.lineage == "strict", run

    def path(self, step: Step) -> Path:
        """The file of what a step made."""
        return self._run.file("samples", f"{step.name}.npz")

    def before(self, step: Step) -> list[Step]:
        """The steps before this one that made rows which are still there, in order."""
        found = (Step.named(path.stem) for path in self._run.file("samples").glob("[0-9]*.npz"))
        return sorted(other for other in found if other < step)

    @property
    def none(self) -> Table:
        """No rows."""
        return Table(self._template, *(np.zeros(0, np.int32),) * 2)

    def write(self, step: Step, table: Table) -> None:
        """Keeps what a step made."""
        files.write_npz(self.path(step), **_columns(table.records), shard=table.shard, slice=table.slice)

    def of(self, step: Step) -> Table:
        """The synthetic rows that a step made."""
        columns = files.read_npz(self.path(step))
        shard, slices = columns.pop("shard"), columns.pop("slice")
        return Table(dataclasses.replace(self._template, **columns), shard, slices)

    def after(self, step: Step) -> Table:
        """The synthetic rows that are in use after a step, which has made its own already, if any."""
        steps = [*self.before(step), step] if self.path(step).exists() else self.before(step)
        return join(self.none, *map(self.of, steps[-1:] if self._strict else steps))


class Synthesis:
    """Makes the synthetic rows of each step, or finds them in the run directory.

    Args:
      material: pools, S and its shards.
      prior: D.
      settings: of the run.
      run: its directory.
      deleted: ids that were deleted on request; they are not shown, and train no generator.
    """

    def __init__(
        self, material: Material, prior: Prior, settings: Settings, run: RunDirectory, deleted: frozenset[str]
    ):
        self._material, self._prior, self._settings, self._run = material, prior, settings, run
        self._samples = Samples(material.drawn, settings, run)
        self._left = material.drawn.without(sorted(deleted))
        self._strict = settings.generator.lineage == "strict"
        self._judge = fit_judge(material, settings, run.file("judge"))
        self._steering = fit_steering(material, settings, run.file("steering"))
        self._lasting = None if self._strict else self._lasting_generator()

    def rows(self, step: Step, originals: Table, gone: np.ndarray) -> Table:
        """All synthetic rows that belong to the table after a step.

        Args:
          step: the step; those before it are recorded.
          originals: the originals that it leaves.
          gone: ids of the originals that it forgets.

        Raises:
          Exhausted: too few originals are left for another generator (lineage "strict"). A deletion round retires
            the old one all the same, and has no synthetic rows.
          UserError: the generator does not pass its quality gate, or the data do not fit.
          StopRequested: a signal came; the same call goes on from there.
        """
        name = f"round {step.round}" if step.round else f"iteration {step.iteration}"
        if step > FIRST:
            words = "replenishing as many" if self._settings.augment.replenish else "replenishing none"
            say(f"{name}: forgetting {len(gone)} originals, {words}")
        if not self._samples.path(step).exists():
            safe_point()
            try:
                generator = self._lasting or self._next_generator(step, originals.records)
            except Exhausted as end:
                if not step.round:
                    raise
                say(f"{name}: {end}; the originals left are learned without synthetic rows")
                self._samples.write(step, self._samples.none)
            else:
                self._make(step, originals, gone, generator)
        if self._strict:
            self._retire(self._samples.before(step))
        made = self._samples.after(step)
        self._show(made.records)
        return made

    def replenishing(self) -> dict[str, Any]:
        """What `tfpdu.augment.replenish` takes of this: the generator that serves the whole run, its judge and its id.

        Raises:
          UserError: the generator does not outlive a step (lineage "strict").
        """
        if self._lasting is None:
            raise UserError("config.generator.lineage=strict: there is no generator that outlives a step")
        generate, _ = self._guarded(self._lasting)
        return {"generate": generate, "judge": self._judge, "generator_id": self._lasting.id}

    # ---- generators ----------------------------------------------------------------------------

    def _lasting_generator(self) -> Generator:
        if self._settings.pretrained:
            return self._pretrained()
        rows = generator_rows(self._material, self._settings)
        rows = self._left if rows is self._material.drawn else rows
        if self._run.event("generator") is None:
            generator, quality = self._fit(None, rows)
        else:  # a row that is deleted later stays in it, as the report says
            generator = load_generator(self._run.file("generator")).steered(self._steering)
            quality = self._inspect(None, generator, rows)  # as recorded, unless the run ended before that
        require_quality(quality)
        self._note_traces(None, generator, self._left)
        return generator

    def _pretrained(self) -> Generator:
        """A generator from before the run, none of whose training rows is in S."""
        name, drawn = self._settings.pretrained, self._material.drawn
        generator = load_pretrained(name, self._settings.generator).steered(self._steering)
        both = np.intersect1d(np.array(generator.row_ids), drawn.ids)
        if len(both):
            raise UserError(
                f"config.generator.pretrained={name}: {len(both)} rows of S trained it, for example {str(both[0])!r};"
                " cut config.pools so that they are public, or train a generator"
            )
        if generator.shape != drawn.images.shape[1:] or generator.label_names != drawn.label_names:
            raise UserError(
                f"config.generator.pretrained={name}: it makes {len(generator.label_names)} classes of"
                f" {list(generator.shape)} pixels, S has {drawn.classes} of {list(drawn.images.shape[1:])}"
            )
        generator.for_specs(drawn.specs)  # raises where it does not know an attribute
        note_generator(None, generator, self._settings, self._run)
        rows = known_rows(generator, self._material)
        require_quality(self._inspect(None, generator, rows if len(rows) else drawn))
        self._note_traces(None, generator, self._left)
        return generator

    def _next_generator(self, step: Step, rows: Records) -> Generator:
        """The generator of the originals still there; raises `Exhausted` where they no longer make a good one."""
        least = self._settings.generator.min_rows
        if step > FIRST and len(rows) < least:
            raise Exhausted(f"{len(rows)} originals would be left, config.generator.min_rows={least}")
        try:
            refuse_impossible_critics(rows, self._settings.generator)
        except UserError as error:
            if step == FIRST:
                raise
            raise Exhausted(str(error)) from None
        generator, quality = self._fit(step, rows)
        if step > FIRST and not quality["passed"]:
            self._retire([step])
            raise Exhausted(
                f"samples of a generator of {len(rows)} originals reach {quality['cas_ratio']:.2f} of their worth"
            )
        require_quality(quality)
        self._note_traces(step, generator, self._left.without(rows.ids.tolist()))
        return generator

    def _fit(self, step: Step | None, rows: Records) -> tuple[Generator, dict[str, Any]]:
        """A generator of these rows, and what the quality gate says of it."""
        generator = fit_generator_for(step, rows, self._settings, self._run).steered(self._steering)
        return generator, self._inspect(step, generator, rows)

    def _inspect(self, step: Step | None, generator: Generator, rows: Records) -> dict[str, Any]:
        return inspect(step, generator, rows, self._material, self._settings, self._run, self._judge)

    def _note_traces(self, step: Step | None, generator: Generator, rows: Records) -> None:
        note_traces(step, generator, rows, self._material, self._settings, self._run)

    def _retire(self, steps: Iterable[Step]) -> None:
        """Removes generators and samples of these steps."""
        for step in steps:  # samples last: by them a killed process finds what is left to remove
            shutil.rmtree(self._run.file("generator", step.name), ignore_errors=True)
            self._samples.path(step).unlink(missing_ok=True)

    # ---- samples -------------------------------------------------------------------------------

    def _make(self, step: Step, originals: Table, gone: np.ndarray, generator: Generator) -> None:
        start = time.monotonic()
        new, counts = self._synthesise(step, originals, gone, generator)
        self._run.record(  # before the file: killed in between, the same samples are made again and told of once
            {
                "event": "augment",
                **step.key,
                "requested": len(new.records),
                **counts,
                "seconds": time.monotonic() - start,
            }
        )
        self._samples.write(step, new)

    def _synthesise(
        self, step: Step, originals: Table, gone: np.ndarray, generator: Generator
    ) -> tuple[Table, dict[str, int]]:
        """The new rows with shard and slice, and what the judge had drawn again."""
        settings = self._settings
        generate, tally = self._guarded(generator)
        before = generator.tally.copy()
        shared: dict[str, Any] = {
            "settings": settings.augment,
            "seed": settings.seed,
            "iteration": step.makes,
            "judge": self._judge,
            "generator_id": generator.id,
        }
        parts: Sequence[Debiased | Replenished]
        if step == FIRST:
            say(f"Algorithm 1: from {len(originals.records)} rows to the prior")
            made = debias(originals.records, self._prior, generate, **shared, shard_of=originals.shard)
            files.write_json(self._run.file("bias.json"), made.report)
            earlier, parts = originals, [made]
        else:
            earlier = originals if self._strict else join(originals, *map(self._samples.of, self._samples.before(step)))
            parts = self._replenish(step, earlier, gone, generate, shared)
        records = concatenate([part.records.take(part.records.origin == step.makes + 1) for part in parts])
        shard, slices = assign_new(
            records, earlier.records, earlier.shard, earlier.slice, settings.ensemble, settings.seed
        )
        if settings.augment.scope == "shard":  # a row made for a shard stays there
            shard = _made_for(parts, step.makes)
        counts = {key: sum(getattr(p, key) for p in parts) for key in ("redrawn", "kept_although_different")}
        counts |= {key: tally[key] for key in COPIES if key in tally}
        counts |= {key: count - before[key] for key, count in generator.tally.items()}
        return Table(records, shard, slices), counts

    def _guarded(self, generator: Generator) -> tuple[Generate, Counter[str]]:
        """The generator with near-copies of its training rows drawn again, and the guard's tally.

        A private generator is left as it is: a guard looks at the rows, which its epsilon does not cover.
        """
        generate = generator.for_specs(self._material.drawn.specs)
        if generator.privacy is not None:
            return generate, Counter()
        rows = known_rows(generator, self._material)
        if len(rows) < 2:  # rows from elsewhere
            return generate, Counter()
        guard = without_copies(generate, rows.images, generator.settings.flip)
        return guard, guard.tally

    def _replenish(
        self, step: Step, earlier: Table, gone: np.ndarray, generate: Generate, shared: dict[str, Any]
    ) -> list[Replenished]:
        """As many rows as are missing: over all of S, or in each shard by itself (the paper's letter)."""
        drawn, k = self._material.drawn, self._settings.ensemble.shards
        numbered = int((earlier.records.origin == step.makes + 1).sum())  # ids that a round took already
        if self._settings.augment.scope == "global":
            first = self._run.events("iteration")[0]
            missing = first["n_original"] + first["n_synthetic"] - len(earlier.records)
            options: dict[str, Any] = {**shared, "reference": drawn, "first": numbered}
            return [replenish(earlier.records, self._prior, missing, generate, **options)]
        lost = np.bincount(self._material.shard[np.isin(drawn.ids, gone)], minlength=k)
        return [
            replenish(
                earlier.records.take(earlier.shard == s),
                self._prior,
                int(lost[s]),
                generate,
                **shared,
                reference=drawn,
                first=numbered + int(lost[:s].sum()),
            )
            for s in range(k)
        ]

    def _show(self, synthetic: Records) -> None:
        """Originals beside samples, a row a class; drawn again as long as a class has few samples."""
        settings = self._settings
        pictures = showcase(self._left, synthetic, 8, settings.seed, settings.show_originals)
        files.write_npz(self._run.file("samples", "showcase.npz"), **pictures)


def _made_for(parts: Sequence[Debiased | Replenished], t: int) -> np.ndarray:
    """int32[m]: the shard that each new row was made for, with scope "shard"."""
    (first, *_) = parts
    if isinstance(first, Debiased):
        assert first.shards is not None  # Algorithm 1 gives them with this scope
        return first.shards[first.records.origin == t + 1].astype(np.int32)
    return np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.records) for part in parts])


def _columns(records: Records) -> dict[str, np.ndarray]:
    names = ("images", "labels", "attributes", "ids", "origin", "generator", "realised")
    return {name: getattr(records, name) for name in names if getattr(records, name) is not None}
