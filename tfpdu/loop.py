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

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.audit import audit_members, fairness_rows
from tfpdu.augment import planned
from tfpdu.bias import bias_report
from tfpdu.common import files, say
from tfpdu.common.determinism import configure
from tfpdu.common.interrupt import safe_point
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records
from tfpdu.deletion import carry_out
from tfpdu.ensemble import Ensemble
from tfpdu.ensemble.settings import PLACEMENT
from tfpdu.reporting import TensorBoardWriter, write_report, write_table1
from tfpdu.run_audit import one_run_of, shard_extras, within_reach
from tfpdu.settings import Settings
from tfpdu.state import State, learner_of
from tfpdu.steps import FIRST, Step
from tfpdu.synthesis import Exhausted, Table
from tfpdu.unlearning import Learned


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
    """The iterations, and between them the deletions that were asked for."""

    def __init__(self, settings: Settings, run: RunDirectory):
        self.settings, self.run_directory = settings, run
        carry_out(settings, run)
        self.state = State.open(settings, run)

    def run(self) -> Path:
        settings, run = self.settings, self.run_directory
        if run.event("baseline") is None:
            self._refuse_impossible()
        self._baseline()
        for t in range(settings.loop.last + 1):
            safe_point()
            if run.event("iteration", t) is not None:
                continue
            if run.event("stopped", t) is not None:
                break
            if carry_out(settings, run):
                self.state = State.open(settings, run)
            try:
                table = self.state.tables.after(Step(t))
            except Exhausted as end:
                run.record({"event": "stopped", "iteration": t, "reason": str(end)})
                say(f"iteration {t}: {end}; done")
                break
            self._iterate(t, table)
        else:
            if settings.loop.last < settings.loop.iterations:
                reason = f"config.loop.until={settings.loop.until}"
                run.record({"event": "stopped", "iteration": settings.loop.last + 1, "reason": reason})
        return write_report(run.path, show_originals=settings.show_originals)

    def _refuse_impossible(self) -> None:
        """Raises `UserError` where Algorithm 1 cannot bring S to the prior: before hours of training, not after."""
        left, settings = self.state.tables.originals(FIRST), self.settings
        planned(left.records, self.state.prior, settings=settings.augment, seed=settings.seed, shard_of=left.shard)

    def _baseline(self) -> None:
        """The same ensemble on S as it is: group fairness before Algorithm 1."""
        if self.run_directory.event("baseline") is None:
            self._measure_baseline()
        shutil.rmtree(self.run_directory.file("baseline"), ignore_errors=True)  # it saw rows that will be forgotten

    def _measure_baseline(self) -> None:
        run, material = self.run_directory, self.state.material
        say(f"baseline: learning {len(material.drawn)} rows as they are")
        left = self.state.tables.originals(Step(0))
        learner = learner_of(material, self.settings, run.file("baseline"))
        learned = learner.learn(left.records, left.shard, left.slice)
        probabilities = learned.ensemble.probabilities(material.pools.test.images)
        rows = fairness_rows(probabilities, material.pools.test, iteration=0, stage="before")
        run.replace_rows("fairness.json", rows, iteration=0, stage="before")
        run.record(
            {
                "event": "baseline",
                "rows": len(material.drawn),
                "test_accuracy": _accuracy(probabilities, material.pools.test.labels),
                "train_seconds": learned.seconds,
            }
        )

    # ---- one iteration -----------------------------------------------------------------------

    def _iterate(self, t: int, step: Table) -> None:
        """Learns (t = 0) or unlearns (t > 0) by exact retraining, measures, audits, records."""
        run, material, settings = self.run_directory, self.state.material, self.settings
        records = step.records
        learned: Learned = self.state.learner.learn(records, step.shard, step.slice, step.weights)
        safe_point()
        retain = _accuracies(learned.ensemble, records)
        test = learned.ensemble.probabilities(material.pools.test.images)
        self._fairness(t, test)
        safe_point()
        audit_seconds = self._audit(t, learned.ensemble, step)
        bias = bias_report(material.drawn, records, self.state.prior, settings.augment.smoothing, step.weights)
        event = {
            "event": "iteration",
            "iteration": t,
            "forget_fraction": float(np.mean(self.state.tables.gone(Step(t)))),
            "n_original": int(records.is_original.sum()),
            "n_synthetic": int((~records.is_original).sum()),
            **retain,
            "test_accuracy": _accuracy(test, material.pools.test.labels),
            "train_seconds": learned.seconds if t == 0 else run.events("iteration")[0]["train_seconds"],
            "unlearn_seconds": 0.0 if t == 0 else learned.seconds,
            "shards_retrained": len(learned.retrained),
            "parameters": learned.ensemble.parameters,  # of a shard's model
            "row_epochs": learned.row_epochs,
            "artefacts": self.state.learner.artefacts(),
            "cost": learned.row_epochs / (len(records) * settings.ensemble.epochs),  # of a full retraining
            "bias_total": bias["total_after"],
            "bias_kl": bias["kl_after"],
            "audit_seconds": audit_seconds,
        }
        TensorBoardWriter(run.file("tensorboard")).write_iteration(event, self._audit_rows(t), self._grid())
        write_table1(run.path, [*run.events("iteration"), event])
        run.record(event)  # last, for it says that the iteration is done
        say(
            f"iteration {t}: {event['n_original']} originals left, test accuracy {event['test_accuracy']:.3f},"
            f" {learned.seconds:.0f} s of training, {audit_seconds:.0f} s of audit"
        )

    def _fairness(self, t: int, probabilities: np.ndarray) -> None:
        rows = fairness_rows(probabilities, self.state.material.pools.test, iteration=t, stage="iteration")
        for stage in ("after", "iteration") if t == 0 else ("iteration",):
            staged = [row | {"stage": stage} for row in rows]
            self.run_directory.replace_rows("fairness.json", staged, iteration=t, stage=stage)

    def _audit(self, t: int, ensemble: Ensemble, step: Table) -> float:
        """Membership inference on all originals of S, on the forgotten and on the remaining ones."""
        start = time.monotonic()
        material, settings = self.state.material, self.settings
        last = settings.loop.last
        gone = self.state.tables.gone(Step(t))
        extras = shard_extras(ensemble, step.shard, material, settings.seed)
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
            settings=within_reach(settings.full_audit if t in (0, last // 2, last) else settings.audit, extras),
            iteration=t,
            extras=extras,
            note=say if t == 0 else lambda line: None,  # the same pools every time: said once
        )
        self.run_directory.replace_rows("audit.json", rows, iteration=t)
        bound = one_run_of(ensemble, material, self.state.tables.deleted, settings.seed)
        if bound is not None:
            self.run_directory.record({"event": "one_run", "iteration": t, **bound})
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
