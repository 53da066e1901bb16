"""Algorithm 2: learn, audit, then forget and replenish, step by step, until no original is left.

    1  S = {S_1 ... S_k}                         assign_shards, fixed for ever
    4  S' = Algorithm1(S, ...)                   _augment, iteration 0
    5  M = A(S')                                 _learn
    6  sample U, |U| <= m(eps, delta)            _forgotten, guarded by Theorem 1's c * n
    7  M' = Â(S', U)                             exact retraining of the shards that hold U
    8  S = S' - U, replenished by Algorithm 1    _rows_at: the size is constant

Each step leaves files that the next run in the same directory finds; the event `iteration` in
metrics.jsonl marks a step as done. Killed anywhere, the same command gives the same results.
"""

import dataclasses
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.audit import accuracy_by_group, audit_members
from tfpdu.augment import Debiased, Generate, Replenished, debias, replenish
from tfpdu.bias import bias_report
from tfpdu.bias.resample import source_id
from tfpdu.common import UserError, files, say
from tfpdu.common.determinism import configure
from tfpdu.common.interrupt import safe_point
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records, concatenate
from tfpdu.diffusion import Generator
from tfpdu.ensemble import Ensemble, assign_new
from tfpdu.preparation import Judge, Material, fit_checked_generator, fit_judge, fit_prior, prepare_data, showcase
from tfpdu.reporting import TensorBoardWriter, write_report, write_table1
from tfpdu.settings import Settings
from tfpdu.unlearning import Learned, ShardedLearner


def run_pdu(config: Mapping[str, Any], workdir: str | Path) -> Path:
    """Runs (or resumes) Algorithm 2 and writes the report.

    Args:
      config: nested, as a preset's `get_config().to_dict()`.
      workdir: the run directory.

    Returns:
      The path of report.html.

    Raises:
      UserError: the configuration, the data or the directory is at fault.
      StopRequested: a signal came; the same call resumes.
    """
    settings = Settings.from_config(config)
    run = RunDirectory(workdir, config)
    with run.lock():
        configure(settings.ensemble.threads)
        return _Loop(settings, run).run()


@dataclasses.dataclass(frozen=True)
class _Step:
    """The table after iteration t, with the shard and slice of each row."""

    records: Records
    shard: np.ndarray
    slice: np.ndarray
    weights: np.ndarray | None = None


class _Loop:
    """The state that all steps share: settings, run directory, data, generator."""

    def __init__(self, settings: Settings, run: RunDirectory):
        self.settings, self.run_directory = settings, run
        self.material: Material = prepare_data(settings, run)
        self.prior = fit_prior(self.material, settings, run)
        self.learner = self._learner("")

    def run(self) -> Path:
        settings, run = self.settings, self.run_directory
        self._baseline()
        judge, generator = self._generator()
        for t in range(settings.loop.iterations + 1):
            safe_point()
            step = self._rows_at(t, generator, judge)
            if step is None:
                say(
                    f"iteration {t}: too little is left to train on, and {settings.augment.method!r} adds no rows; done"
                )
                break
            if run.event("iteration", t) is None:
                self._iterate(t, step)
        shutil.rmtree(run.file("baseline"), ignore_errors=True)
        return write_report(run.path, show_originals=settings.show_originals)

    def _learner(self, folder: str) -> ShardedLearner:
        drawn = self.material.drawn
        return ShardedLearner(
            self.run_directory.file(folder),
            self.settings.ensemble,
            self.settings.views,
            classes=drawn.classes,
            input_shape=drawn.images.shape[1:],
            seed=self.settings.seed,
        )

    def _baseline(self) -> None:
        """The same ensemble on S as it is: accuracy by class and group before Algorithm 1."""
        run, material = self.run_directory, self.material
        if run.event("baseline") is not None:
            return
        say(f"baseline: learning {len(material.drawn)} rows as they are")
        learned = self._learner("baseline").learn(material.drawn, material.shard, material.slice)
        probabilities = learned.ensemble.probabilities(material.pools.test.images)
        rows = accuracy_by_group(probabilities, material.pools.test, iteration=0, stage="before")
        run.replace_rows("fairness.json", rows, iteration=0, stage="before")
        run.record(
            {
                "event": "baseline",
                "rows": len(material.drawn),
                "test_accuracy": _accuracy(probabilities, material.pools.test.labels),
                "train_seconds": learned.seconds,
            }
        )
        shutil.rmtree(run.file("baseline"), ignore_errors=True)  # it saw rows that will be forgotten

    def _generator(self) -> tuple[Judge | None, Generator | None]:
        if self.settings.augment.method != "diffusion":
            return None, None
        judge = fit_judge(self.material, self.settings, self.run_directory)
        return judge, fit_checked_generator(self.material, self.settings, self.run_directory, judge)

    # ---- the table after iteration t -------------------------------------------------------

    def _forgotten(self, t: int) -> np.ndarray:
        """Ids forgotten up to iteration t: the first round(n0 * t / T) of the forget order."""
        order = self.material.forget_order
        return order[: round(len(order) * t / self.settings.loop.iterations)]

    def _rows_at(self, t: int, generator: Generator | None, judge: Judge | None) -> _Step | None:
        """S after iteration t: the originals not yet forgotten, and all synthetic rows made so far."""
        drawn = self.material.drawn
        left = ~np.isin(drawn.ids, self._forgotten(t))
        originals = _Step(drawn.take(left), self.material.shard[left], self.material.slice[left])
        if generator is None or judge is None:
            return self._plain(t, originals)
        self._make_samples(t, originals, generator, judge)
        if self.run_directory.event("iteration", t) is None:
            self._showcase()
        return _join(originals, *(self._samples(i) for i in range(t + 1)))

    def _plain(self, t: int, originals: _Step) -> _Step | None:
        """The plain alternatives to diffusion debias what is left and replenish nothing."""
        if not len(originals.records):
            return None
        augment, prior = self.settings.augment, self.prior
        try:
            result = debias(originals.records, prior, None, settings=augment, seed=self.settings.seed, iteration=t)
        except UserError as error:
            if t == 0:
                raise
            say(f"iteration {t}: {error}")  # too few rows are left for this method
            return None
        if t == 0:
            files.write_json(self.run_directory.file("bias.json"), result.report)
        shard, slices = _where(result.records, originals)
        return _Step(result.records, shard, slices, result.weights)

    def _make_samples(self, t: int, originals: _Step, generator: Generator, judge: Judge) -> None:
        """Algorithm 1 at iteration 0, replenishment after each forgetting; kept in samples/<t>.npz."""
        run = self.run_directory
        path = run.file("samples", f"{t:04d}.npz")
        if path.exists():
            return
        safe_point()
        start = time.monotonic()
        new, counts = self._synthesise(t, originals, generator, judge)
        run.record(  # before the file: killed in between, the same samples are made again and told of once
            {
                "event": "augment",
                "iteration": t,
                "requested": len(new.records),
                **counts,
                "seconds": time.monotonic() - start,
            }
        )
        files.write_npz(path, **_columns(new.records), shard=new.shard, slice=new.slice)

    def _synthesise(self, t: int, originals: _Step, generator: Generator, judge: Judge) -> tuple[_Step, dict[str, int]]:
        """The new rows with shard and slice, and what the judge had drawn again."""
        settings, prior = self.settings, self.prior
        generate = generator.for_specs(self.material.drawn.specs)
        shared: dict[str, Any] = {
            "settings": settings.augment,
            "seed": settings.seed,
            "iteration": t,
            "judge": judge,
            "generator_id": generator.id,
        }
        parts: Sequence[Debiased | Replenished]
        if t == 0:
            say(f"Algorithm 1: from {len(originals.records)} rows to the prior")
            earlier, made = originals, debias(originals.records, prior, generate, **shared, shard_of=originals.shard)
            files.write_json(self.run_directory.file("bias.json"), made.report)
            parts = [made]
        else:
            earlier = _join(originals, *(self._samples(i) for i in range(t)))
            parts = self._replenish(t, earlier, generate, shared)
        new = [part.records.take(part.records.origin == t + 1) for part in parts]
        records = concatenate(new)
        shard, slices = assign_new(records, earlier.records, earlier.shard, settings.ensemble, settings.seed)
        if settings.augment.scope == "shard":  # a row made for a shard stays there
            shard = _made_for(parts, t)
        counts = {key: sum(getattr(p, key) for p in parts) for key in ("redrawn", "kept_although_different")}
        return _Step(records, shard, slices), counts

    def _replenish(self, t: int, earlier: _Step, generate: Generate, shared: dict[str, Any]) -> list[Replenished]:
        """As many rows as were forgotten: over all of S, or in each shard by itself (the paper's letter)."""
        drawn, prior = self.material.drawn, self.prior
        gone = np.setdiff1d(self._forgotten(t), self._forgotten(t - 1))
        say(f"iteration {t}: forgetting {len(gone)} originals, replenishing as many")
        if self.settings.augment.scope == "global":
            return [replenish(earlier.records, prior, len(gone), generate, **shared, reference=drawn)]
        lost = np.bincount(self.material.shard[np.isin(drawn.ids, gone)], minlength=self.settings.ensemble.shards)
        return [
            replenish(
                earlier.records.take(earlier.shard == s),
                prior,
                int(lost[s]),
                generate,
                **shared,
                reference=drawn,
                first=int(lost[:s].sum()),
            )
            for s in range(len(lost))
        ]

    def _samples(self, t: int) -> _Step:
        """The synthetic rows made at iteration t."""
        columns = files.read_npz(self.run_directory.file("samples", f"{t:04d}.npz"))
        shard, slices = columns.pop("shard"), columns.pop("slice")
        template = dataclasses.replace(self.material.drawn.take(np.arange(0)), subjects=None)
        return _Step(dataclasses.replace(template, **columns), shard, slices)

    def _showcase(self) -> None:
        """Originals beside samples, a row a class; drawn again as long as a class has few samples."""
        path = self.run_directory.file("samples", "showcase.npz")
        made = sorted(self.run_directory.file("samples").glob("[0-9]*.npz"))
        synthetic = concatenate([self._samples(int(p.stem)).records for p in made])
        files.write_npz(
            path, **showcase(self.material.drawn, synthetic, 8, self.settings.seed, self.settings.show_originals)
        )

    # ---- one iteration -----------------------------------------------------------------------

    def _iterate(self, t: int, step: _Step) -> None:
        """Learns (t = 0) or unlearns (t > 0) by exact retraining, measures, audits, records."""
        run, material, settings = self.run_directory, self.material, self.settings
        records = step.records
        learned: Learned = self.learner.learn(records, step.shard, step.slice, step.weights)
        safe_point()
        retain = _accuracies(learned.ensemble, records)
        test = learned.ensemble.probabilities(material.pools.test.images)
        self._fairness(t, test)
        safe_point()
        audit_seconds = self._audit(t, learned.ensemble)
        bias = bias_report(material.drawn, records, self.prior, settings.augment.smoothing, step.weights)
        event = {
            "event": "iteration",
            "iteration": t,
            "forget_fraction": len(self._forgotten(t)) / len(material.drawn),
            "n_original": int(records.is_original.sum()),
            "n_synthetic": int((~records.is_original).sum()),
            **retain,
            "test_accuracy": _accuracy(test, material.pools.test.labels),
            "train_seconds": learned.seconds if t == 0 else run.events("iteration")[0]["train_seconds"],
            "unlearn_seconds": 0.0 if t == 0 else learned.seconds,
            "shards_retrained": len(learned.retrained),
            "bias_total": bias["total_after"],
            "bias_kl": bias["kl_after"],
            "audit_seconds": audit_seconds,
        }
        TensorBoardWriter(run.file("tensorboard")).write_iteration(event, self._audit_rows(t), self._grid())
        run.record(event)
        write_table1(run.path, run.events("iteration"))
        say(
            f"iteration {t}: {event['n_original']} originals left, test accuracy {event['test_accuracy']:.3f},"
            f" {learned.seconds:.0f} s of training, {audit_seconds:.0f} s of audit"
        )

    def _fairness(self, t: int, probabilities: np.ndarray) -> None:
        for stage in ("after", "iteration") if t == 0 else ("iteration",):
            rows = accuracy_by_group(probabilities, self.material.pools.test, iteration=t, stage=stage)
            self.run_directory.replace_rows("fairness.json", rows, iteration=t, stage=stage)

    def _audit(self, t: int, ensemble: Ensemble) -> float:
        """Membership inference on all originals of S, on the forgotten and on the remaining ones."""
        start = time.monotonic()
        material, settings = self.material, self.settings
        last = settings.loop.iterations
        gone = np.isin(material.drawn.ids, self._forgotten(t))
        rows = audit_members(
            ensemble.probabilities,
            {
                "all_originals": material.drawn,
                "forgotten": material.drawn.take(gone),
                "remaining": material.drawn.take(~gone),
            },
            material.pools.non_members_calibration,
            material.pools.non_members_evaluation,
            policy=settings.views,
            seed=settings.seed,
            settings=settings.full_audit if t in (0, last // 2, last) else settings.audit,
            iteration=t,
            note=say if t == 0 else lambda line: None,  # the same pools every time: said once
        )
        self.run_directory.replace_rows("audit.json", rows, iteration=t)
        return time.monotonic() - start

    def _audit_rows(self, t: int) -> list[dict[str, Any]]:
        return [row for row in files.read_json(self.run_directory.file("audit.json")) if row["iteration"] == t]

    def _grid(self) -> np.ndarray | None:
        path = self.run_directory.file("samples", "showcase.npz")
        return files.read_npz(path)["synthetic"] if path.exists() else None


def _accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(probabilities.argmax(1) == labels))


def _accuracies(ensemble: Ensemble, records: Records) -> dict[str, float | None]:
    """Accuracy in evaluation mode on the rows of S: all, originals, synthetic ones."""
    right = ensemble.probabilities(records.images).argmax(1) == records.labels
    original = records.is_original
    return {
        "retain_accuracy": float(right.mean()),
        "retain_accuracy_originals": float(right[original].mean()) if original.any() else None,
        "retain_accuracy_synthetic": float(right[~original].mean()) if (~original).any() else None,
    }


def _join(*steps: _Step) -> _Step:
    filled = [step for step in steps if len(step.records)]
    if not filled:
        raise UserError("no rows are left and none were made")
    return _Step(
        concatenate([step.records for step in filled]),
        np.concatenate([step.shard for step in filled]),
        np.concatenate([step.slice for step in filled]),
    )


def _made_for(parts: Sequence[Debiased | Replenished], t: int) -> np.ndarray:
    """int32[m]: the shard that each new row was made for, with scope "shard"."""
    (first, *_) = parts
    if isinstance(first, Debiased):
        assert first.shards is not None  # Algorithm 1 gives them with this scope
        return first.shards[first.records.origin == t + 1].astype(np.int32)
    return np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.records) for part in parts])


def _where(records: Records, originals: _Step) -> tuple[np.ndarray, np.ndarray]:
    """Shard and slice of rows kept or copied from originals: a copy stays where its source is."""
    home = dict(zip(originals.records.ids.tolist(), zip(originals.shard, originals.slice, strict=True), strict=True))
    pairs = [home[source_id(row_id)] for row_id in records.ids.tolist()]
    return np.array([s for s, _ in pairs], np.int32), np.array([r for _, r in pairs], np.int32)


def _columns(records: Records) -> dict[str, np.ndarray]:
    names = ("images", "labels", "attributes", "ids", "origin", "generator", "realised")
    return {name: getattr(records, name) for name in names if getattr(records, name) is not None}
