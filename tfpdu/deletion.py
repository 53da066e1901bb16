"""The deletion round: rows that were asked for are unlearned, replaced, audited and purged, and a receipt says so.

A round comes between two iterations. It is a step like them: the rows leave, as many synthetic ones come towards the
prior, and one exact retraining of what saw the rows is the unlearning. The ledger says when it started and with which
requests, so that a killed round is taken up again; what it measured is in metrics.jsonl before it is needed again.

In service mode every trace of the rows is erased once the round's audit is done; in experiment mode the rows stay in
the run directory's record, for study, and are used by nothing that learns; replenishing still asks for labels and
attributes in the proportions of the S that was drawn, with them.
"""

import dataclasses
import shutil
from typing import Any

import numpy as np

from tfpdu.audit import accuracy, audit_members, fairness_rows, of_groups
from tfpdu.audit.concentration import SHOWN, concentrated
from tfpdu.common import files, say
from tfpdu.common.interrupt import safe_point
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records, concatenate
from tfpdu.ensemble import Ensemble
from tfpdu.material import prepare_data
from tfpdu.purge import purge, redraw_pictures
from tfpdu.receipts import write_receipt
from tfpdu.reporting import write_report
from tfpdu.run_audit import shard_extras, within_reach
from tfpdu.settings import Settings
from tfpdu.state import State, open_ledger
from tfpdu.steps import Step, last_step
from tfpdu.unlearning import Ledger, Tombstones, near_duplicates
from tfpdu.unlearning.history import Round

PURGED = "purged"  # line of the ledger: of a round's rows nothing is left but their ids, which the ledger erases next


def carry_out(settings: Settings, run: RunDirectory) -> list[int]:
    """Carries out all requests that are pending, in one round or more, and finishes a round that was killed.

    Args:
      settings: of the run.
      run: its directory, held by this process.

    Returns:
      The numbers of the rounds; none where nothing was asked for.

    Raises:
      UserError: the ledger was tampered with, or the data set lacks a row of the run.
      StopRequested: a signal came; the next call goes on from there.
    """
    ledger = open_ledger(run)
    if ledger is None:
        return []
    rounds = []
    for finished in ledger.history().rounds.values():
        if finished.finished is not None and not finished.erased:
            _erase(settings, run, ledger, finished)
    while (round_ := ledger.start_round()) is not None:
        safe_point()
        _DeletionRound(settings, run, ledger, round_).carry_out()
        rounds.append(round_.number)
    return rounds


def _erase(settings: Settings, run: RunDirectory, ledger: Ledger, round_: Round) -> None:
    """In service mode, every trace of a finished round's rows, and last the ids in the clear that say what to erase."""
    if settings.deletion.mode != "service":
        return
    if not any(entry.payload["round"] == round_.number for entry in ledger.entries(PURGED)):
        purge(run, ledger.covered(round_), settings)
        if run.file("report.html").exists():  # it shows pictures
            write_report(run.path, show_originals=settings.show_originals)
        ledger.note(PURGED, {"round": round_.number})
    ledger.erase(round_)


class _DeletionRound:
    """One round, from the tombstones to the receipt."""

    def __init__(self, settings: Settings, run: RunDirectory, ledger: Ledger, round_: Round):
        self._settings, self._run, self._ledger, self._round = settings, run, ledger, round_
        self._material = prepare_data(settings, run)
        done = run.events("iteration")
        self._last = done[-1]["iteration"] if done else -1
        self._step = Step(self._last, round_.number)
        self._ids = ledger.covered(round_)

    def carry_out(self) -> None:
        ledger, round_ = self._ledger, self._round
        say(f"round {round_.number}: deleting {len(self._ids)} rows of {len(round_.requests)} requests")
        held = self._material.held()
        Tombstones(ledger).bury(held.take(np.isin(held.ids, self._ids)), round_)
        self._tell_of_twins(held)
        self._drop_judges()
        before = self._state(ledger.deleted(self._material.ids))
        after = self._state(ledger.deleted(self._material.ids, also=round_))
        affected = before.tables.originals(Step(self._last)).records
        affected = affected.take(np.isin(affected.ids, self._ids))
        if self._last < 0:
            self._drop_unfinished()
        elif len(affected):
            self._unlearn(before, after, affected)
        redraw_pictures(self._material.drawn.without(sorted(after.tables.deleted)), self._run, self._settings)
        receipt = write_receipt(self._run, ledger, round_, self._material, self._settings, self._ids)
        ledger.finish_round(round_, {"receipt": receipt.name, "sha256": files.file_hash(receipt)})
        _erase(self._settings, self._run, ledger, round_)

    def _state(self, deleted: frozenset[str]) -> State:
        return State.of(self._material, self._settings, self._run, deleted)

    def _drop_judges(self) -> None:
        """Removes what learned from auxiliary rows that go; the next step that needs it learns it without them."""
        touched = set(self._ids) & set(self._material.pools.auxiliary.ids.tolist())
        if touched and self._run.event("judges_dropped", round=self._round.number) is None:
            for name in ("judge", "steering"):
                shutil.rmtree(self._run.file(name), ignore_errors=True)
            self._run.record({"event": "judges_dropped", **self._step.key})

    def _tell_of_twins(self, held: Records) -> None:
        """Says which near copies of the rows stay under other ids, as nobody asked for them."""
        present = sorted(set(self._ids) & set(held.ids.tolist()))
        twins = near_duplicates(held, present) if present else []
        for twin in twins[:5]:
            say(f"round {self._round.number}: {twin.twin} looks like the deleted {twin.id}, and stays")
        if len(twins) > 5:
            say(f"round {self._round.number}: and {len(twins) - 5} more near copies stay")
        self._run.record({"event": "near_copies", **self._step.key, "count": len(twins)})

    # ---- unlearning ----------------------------------------------------------------------------

    def _unlearn(self, before: State, after: State, affected: Records) -> None:
        run, number = self._run, self._round.number
        if run.event("deletion_before", round=number) is None:
            self._note_before(before, affected)
        if run.event("deletion", round=number) is not None:
            return
        self._drop_unfinished()
        table = after.tables.after(self._step, affected.ids)
        safe_point()
        if not len(table.records):
            after.learner.clear()
            run.record({"event": "deletion", **self._step.key, "rows": len(affected), "shards": [], "learned": 0})
            return
        learned = after.learner.learn(table.records, table.shard, table.slice, table.weights)
        safe_point()
        measured = self._measure(learned.ensemble, table.shard, after, affected, f"round {number}")
        run.record(
            {
                "event": "deletion",
                **self._step.key,
                "rows": len(affected),
                "learned": len(table.records),
                "shards": list(learned.retrained),
                "row_epochs": learned.row_epochs,
                "cost": learned.row_epochs / (len(table.records) * self._settings.ensemble.epochs),
                "unlearn_seconds": learned.seconds,
                "artefacts": after.learner.artefacts(),
                **measured,
            }
        )

    def _note_before(self, before: State, affected: Records) -> None:
        """What the model gives away of the rows as long as it knows them, if it is still there."""
        previous = last_step(self._run, before_round=self._round.number)
        assert previous is not None  # something is learned, or there would be nothing to unlearn
        table = before.tables.now(previous)
        place = np.isin(table.records.ids, affected.ids)
        homes = np.unique(np.stack([table.shard[place], table.slice[place]], 1), axis=0, return_counts=True)
        originals = before.tables.originals(Step(self._last)).records
        losses = concentrated(originals, np.isin(originals.ids, affected.ids))
        for loss in losses[:SHOWN]:
            say(f"round {self._round.number}: {loss.as_line()}")
        known: dict[str, Any] = {
            "concentrated": [{**dataclasses.asdict(loss), "words": loss.as_line()} for loss in losses],
            "where": [{"shard": int(s), "slice": int(r), "rows": int(n)} for (s, r), n in zip(*homes, strict=True)],
        }
        if before.learner.ready(table.records, table.shard, table.slice, table.weights):
            learned = before.learner.learn(table.records, table.shard, table.slice, table.weights)
            known |= self._measure(learned.ensemble, table.shard, before, affected, "iteration")
            known["artefacts"] = before.learner.artefacts()
        self._run.record({"event": "deletion_before", **self._step.key, **known})

    def _drop_unfinished(self) -> None:
        """Removes what a killed iteration made on the way to a table that held the rows."""
        for name in ("baseline", "gate"):
            shutil.rmtree(self._run.file(name), ignore_errors=True)
        if self._settings.generator.lineage != "strict" and self._run.event("generator") is None:
            shutil.rmtree(self._run.file("generator"), ignore_errors=True)  # no sample of it is in use yet
        for path in self._run.file("samples").glob("[0-9]*.npz"):
            if Step.named(path.stem) > self._step:
                shutil.rmtree(self._run.file("generator", path.stem), ignore_errors=True)
                path.unlink()
        shutil.rmtree(self._run.file("generator", Step(self._last + 1).name), ignore_errors=True)
        made = [("audit.json", {}), *(("fairness.json", {"stage": stage}) for stage in ("after", "iteration"))]
        for name, of in made:
            if self._run.file(name).exists():
                self._run.replace_rows(name, [], iteration=self._last + 1, **of)
        self._run.drop_after(self._last)

    # ---- measuring -----------------------------------------------------------------------------

    def _measure(
        self, ensemble: Ensemble, shard: np.ndarray, state: State, affected: Records, stage: str
    ) -> dict[str, Any]:
        """Accuracy and groups on the test rows, attacks on all originals, and losses on the rows themselves."""
        pools, settings = state.material.pools, self._settings
        test = ensemble.probabilities(pools.test.images)
        left = state.tables.originals(self._step).records
        others = concatenate([pools.non_members_calibration, pools.non_members_evaluation])
        twins = others.take(np.isin(others.labels, affected.labels))
        extras = shard_extras(ensemble, shard, state.material, settings.seed)
        audit = audit_members(
            ensemble.probabilities,
            {"requested": affected, "remaining": left.without(affected.ids.tolist())},
            pools.non_members_calibration,
            pools.non_members_evaluation,
            policy=settings.views,
            seed=settings.seed,
            settings=within_reach(settings.audit, extras),
            iteration=self._last,
            note=lambda line: None,
            extras=extras,
        )
        return {
            "test_accuracy": accuracy(test, pools.test).value,
            "loss_of_rows": _mean_loss(ensemble, affected),
            "loss_of_non_members": _mean_loss(ensemble, twins) if len(twins) else None,
            "groups": self._groups(test, pools.test, stage),
            "audit": audit,
        }

    def _groups(self, probabilities: np.ndarray, test: Records, stage: str) -> list[dict[str, Any]]:
        """Group fairness: a round's goes to fairness.json, what the receipt says of it is returned."""
        rows = fairness_rows(probabilities, test, iteration=self._last, stage=stage)
        if stage != "iteration":  # the iteration wrote its own
            self._run.replace_rows("fairness.json", rows, iteration=self._last, stage=stage)
        return of_groups(rows)


def _mean_loss(ensemble: Ensemble, records: Records) -> float:
    """Mean cross-entropy in nats of the aggregated ensemble in evaluation mode."""
    probabilities = ensemble.probabilities(records.images)  # [n, C]
    true = probabilities[np.arange(len(records)), records.labels]
    return float(-np.log(np.maximum(true.astype(np.float64), 1e-12)).mean())
