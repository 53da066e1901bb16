"""Algorithm 2: learn, audit, then forget and replenish, step by step, until no original is left.

    1  S = {S_1 ... S_k}                         assign_shards, fixed for ever
    4  S' = Algorithm1(S, ...)                   Synthesis.rows, iteration 0
    5  M = A(S')                                 _iterate
    6  sample U, |U| <= m(eps, delta)            _forgotten, guarded by Theorem 1's c * n
    7  M' = Â(S', U)                             exact retraining of the shards that hold U
    8  S = S' - U, replenished by Algorithm 1    Synthesis.rows: the size is constant

Each step leaves files that the next run in the same directory finds; the event `iteration` in
metrics.jsonl marks a step as done. Killed anywhere, the same command gives the same results.
"""

import dataclasses
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.audit import accuracy_by_group, audit_members
from tfpdu.augment import debias
from tfpdu.bias import bias_report
from tfpdu.bias.resample import source_id
from tfpdu.common import UserError, files, say
from tfpdu.common.determinism import configure
from tfpdu.common.interrupt import safe_point
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records
from tfpdu.ensemble import Ensemble
from tfpdu.ensemble.settings import PLACEMENT
from tfpdu.preparation import Material, fit_prior, prepare_data
from tfpdu.reporting import TensorBoardWriter, write_report, write_table1
from tfpdu.settings import Settings
from tfpdu.synthesis import Exhausted, Synthesis, Table, join
from tfpdu.unlearning import Learned, ShardedLearner
from tfpdu.unlearning.plan import NEVER, BasePlan, plan_bases


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
    run = RunDirectory(workdir, config, free=[f"config.ensemble.{name}" for name in PLACEMENT])
    with run.lock():
        configure(settings.ensemble.threads)
        return _Loop(settings, run).run()


class _Loop:
    """The state that all steps share: settings, run directory, data, generator."""

    def __init__(self, settings: Settings, run: RunDirectory):
        self.settings, self.run_directory = settings, run
        self.material: Material = prepare_data(settings, run)
        self.prior = fit_prior(self.material, settings, run)
        self.learner = self._learner("")
        self.synthesis: Synthesis | None = None

    def run(self) -> Path:
        settings, run = self.settings, self.run_directory
        self._baseline()
        if settings.augment.method == "diffusion":
            self.synthesis = Synthesis(self.material, self.prior, settings, run)
        for t in range(settings.loop.iterations + 1):
            safe_point()
            if run.event("iteration", t) is not None:
                continue
            if run.event("stopped", t) is not None:
                break
            try:
                table = self._table(t)
            except Exhausted as end:
                run.record({"event": "stopped", "iteration": t, "reason": str(end)})
                say(f"iteration {t}: {end}; done")
                break
            self._iterate(t, table)
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

    # ---- the table after iteration t -------------------------------------------------------

    def _forgotten(self, t: int) -> np.ndarray:
        """Ids forgotten up to iteration t: the first round(n0 * t / T) of the forget order."""
        order = self.material.forget_order
        return order[: round(len(order) * t / self.settings.loop.iterations)]

    def _table(self, t: int) -> Table:
        """S after iteration t: the originals not yet forgotten, and the synthetic rows that stand in for the others."""
        drawn = self.material.drawn
        left = ~np.isin(drawn.ids, self._forgotten(t))
        originals = Table(drawn.take(left), self.material.shard[left], self.material.slice[left])
        if self.synthesis is None:
            return self._plain(t, originals)
        gone = np.setdiff1d(self._forgotten(t), self._forgotten(t - 1)) if t else self._forgotten(0)
        return self._in_order(t, join(originals, self.synthesis.rows(t, originals, gone)))

    def _plain(self, t: int, originals: Table) -> Table:
        """The plain alternatives to diffusion debias what is left and replenish nothing."""
        if not len(originals.records):
            raise Exhausted(
                f"no originals are left, and config.augment.method={self.settings.augment.method} adds none"
            )
        augment, prior = self.settings.augment, self.prior
        try:
            result = debias(originals.records, prior, None, settings=augment, seed=self.settings.seed, iteration=t)
        except UserError as error:
            if t == 0:
                raise
            raise Exhausted(str(error)) from None  # too few rows are left for this method
        if t == 0:
            files.write_json(self.run_directory.file("bias.json"), result.report)
        shard, slices = _where(result.records, originals)
        return self._in_order(t, Table(result.records, shard, slices, result.weights))

    def _in_order(self, t: int, table: Table) -> Table:
        """With slice_order=forget, the table with its slices as the plan of iteration t has them."""
        if self.settings.ensemble.slice_order != "forget":
            return table
        drawn, records = self.material.drawn, table.records
        leaves = np.full(len(drawn), NEVER)
        for step in range(self.settings.loop.iterations, 0, -1):
            leaves[np.isin(drawn.ids, self._forgotten(step))] = step
        home = dict(zip(drawn.ids.tolist(), leaves.tolist(), strict=True))
        sources = [source_id(row_id) for row_id in records.ids.tolist()]  # a copy leaves with its original
        leaving = np.array([home.get(source, NEVER) for source in sources])
        made = np.where(np.isin(sources, drawn.ids), -1, records.origin - 1)
        return dataclasses.replace(table, slice=self._plan(len(records)).slices(t, leaving, made))

    def _plan(self, rows: int) -> BasePlan:
        """When each base is made anew; fixed, and recorded, at iteration 0."""
        ensemble, run = self.settings.ensemble, self.run_directory
        event = run.event("plan")
        if event is None:
            counts = [len(self._forgotten(step)) for step in range(self.settings.loop.iterations + 1)]
            first, last = ensemble.slice_epochs()
            lasting = self.settings.generator.lineage != "strict"
            plan = plan_bases(rows, np.diff(counts).tolist(), 1 - first / last, ensemble.base_share, lasting)
            event = {"event": "plan", **dataclasses.asdict(plan), "total_cost": plan.total_cost}
            run.record(event)
        lists = {name: tuple(event[name]) for name in ("rebuilds", "shares", "costs")}
        return BasePlan(**lists, keeps_synthetic=event["keeps_synthetic"])

    # ---- one iteration -----------------------------------------------------------------------

    def _iterate(self, t: int, step: Table) -> None:
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
            "row_epochs": learned.row_epochs,
            "cost": learned.row_epochs / (len(records) * settings.ensemble.epochs),  # of a full retraining
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
        if self.settings.generator.lineage == "strict":
            return None  # a log of pictures would outlive the samples
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


def _where(records: Records, originals: Table) -> tuple[np.ndarray, np.ndarray]:
    """Shard and slice of rows kept or copied from originals: a copy stays where its source is."""
    home = dict(zip(originals.records.ids.tolist(), zip(originals.shard, originals.slice, strict=True), strict=True))
    pairs = [home[source_id(row_id)] for row_id in records.ids.tolist()]
    return np.array([s for s, _ in pairs], np.int32), np.array([r for _, r in pairs], np.int32)
