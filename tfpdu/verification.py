"""Whether a run directory is what it says: from its files and the data set alone, without trust in what made it.

What is checked: the ledger's chain and receipts; that no weights are there but those that the rows left give, by the
keys that cover every row; that their bytes are those that were recorded; that no picture with a tombstone is kept; that
every generator that saw a deleted row is owned up to. `replay` learns the rows left from nothing, and compares.
"""

import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfpdu.common import UserError, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import Records, unlabelled
from tfpdu.material import Material, prepare_data
from tfpdu.preparation import fit_prior
from tfpdu.purge import cards
from tfpdu.serving.versions import JOURNAL, Repository
from tfpdu.settings import Settings
from tfpdu.state import learner_of, open_ledger
from tfpdu.steps import Step, last_step
from tfpdu.synthesis import Exhausted, Samples, Table
from tfpdu.tables import Tables
from tfpdu.unlearning import Ledger, ShardedLearner, Tombstones

PUBLISHED = "published.json"  # of the run directory: where versions of it went
VERSIONS = "versions"  # name of what is found about them


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was checked: its name, whether it holds, and what was found, in a line."""

    name: str
    holds: bool
    words: str


def verify(settings: Settings, run: RunDirectory, replay: bool = False) -> list[Finding]:
    """Checks a run directory that no job is writing to; changes nothing in it.

    Args:
      settings: of the run.
      run: its directory.
      replay: also learn the rows that are left from nothing, and compare the weights bit for bit.

    Returns:
      What was found, in order; checks that need what a failed one would have given are left out.
    """
    return list(_Verification(settings, run).findings(replay))


class _Verification:
    def __init__(self, settings: Settings, run: RunDirectory):
        self._settings, self._run = settings, run

    def findings(self, replay: bool) -> Iterator[Finding]:
        try:
            ledger = open_ledger(self._run)
            history = ledger.history() if ledger else None
            material = prepare_data(self._settings, self._run)
        except UserError as error:
            yield Finding("record", False, str(error))
            return
        if ledger and history:
            done = sum(r.finished is not None for r in history.rounds.values())
            yield Finding("ledger", True, f"requests: {len(history.requests)}, rounds done: {done}, chain whole")
            yield self._receipts(ledger)
            yield self._pictures(ledger, material)
            yield self._generators(ledger)
            if self._run.file(PUBLISHED).exists():
                yield self._versions(ledger)
        yield self._rows(material, ledger.deleted(material.ids) if ledger else frozenset())
        standing = self._standing(material, ledger)
        if standing is None:
            yield Finding("weights", not self._learner(material).artefacts(), "none has been learned")
            return
        current, under_way = standing
        yield self._weights(material, current, under_way)
        if replay:
            yield self._replayed(material, current)

    # ---- what is deleted -----------------------------------------------------------------------

    def _receipts(self, ledger: Ledger) -> Finding:
        wrong = []
        for round_ in ledger.history().rounds.values():
            if round_.finished is None:
                continue
            path = self._run.file("receipts", str(round_.result["receipt"]))
            if not path.exists() or files.file_hash(path) != round_.result["sha256"]:
                wrong.append(path.name)
        return Finding("receipts", not wrong, f"changed or missing: {', '.join(wrong)}" if wrong else "as recorded")

    def _rows(self, material: Material, deleted: frozenset[str]) -> Finding:
        if self._settings.deletion.mode == "service" and deleted:
            return Finding("rows", False, f"{len(deleted)} deleted rows are still in the record, in service mode")
        kept = f", {len(deleted)} deleted ones kept for study" if deleted else ""
        return Finding("rows", True, f"{len(material.ids)} rows as recorded{kept}")

    def _pictures(self, ledger: Ledger, material: Material) -> Finding:
        """No picture in a file of the run has a tombstone; originals that are kept for study are not in files.

        A row that stays may have the very pixels of one that went: its picture is there rightfully.
        """
        held: list[str] = []
        tombstones = Tombstones(ledger)

        @functools.cache  # all pictures of the run: wanted only where one with a tombstone is found
        def stay() -> Records:
            return material.held().without(sorted(ledger.deleted(material.ids)))

        for path in sorted(self._run.path.rglob("*.npz")):
            for array in files.read_npz(path).values():
                if array.dtype == np.uint8 and array.ndim >= 4:
                    pictures = array.reshape(-1, *array.shape[-3:])
                    rows = unlabelled([f"picture {i}" for i in range(len(pictures))], pictures)
                    held += [path.name] if tombstones.refused(rows) and tombstones.refused(rows, stay()) else []
        return Finding("pictures", not held, f"deleted ones in {', '.join(held)}" if held else "none with a tombstone")

    def _generators(self, ledger: Ledger) -> Finding:
        owned = [
            line
            for path in sorted(self._run.file("receipts").glob("*.json"))
            for line in files.read_json(path)["incomplete"]
            if line.startswith("generator:")
        ]
        for path in cards(self._run):
            seen = ledger.deleted(files.read_json(path)["row_ids"])
            if seen and not owned:
                return Finding(
                    "generator", False, f"{path}: it learned {len(seen)} deleted rows, and no receipt says so"
                )
        return Finding("generator", True, owned[-1] if owned else "learned no deleted row")

    def _versions(self, ledger: Ledger) -> Finding:
        """No version that answers saw a deleted row; in service mode none that did is on the disk."""
        wrong, notes, deleted = [], [], ledger.history().deleted
        for place in files.read_json(self._run.file(PUBLISHED)):
            base, name = Path(place["models"]), place["name"]
            if not (base / name / JOURNAL).exists():
                notes.append(f"{base / name}: is not there any more, or cannot be seen from here")
                continue
            repository = Repository(base, name)
            listed = repository.journal().listed()
            for number, seen in repository.tainted(deleted).items():
                words = f"learned {seen} deleted rows" if seen > 0 else "has no lineage that can be read"
                if number in listed:
                    wrong.append(f"{repository.path(number)}: {words} and is published; publish the run again")
                elif seen > 0 and self._settings.deletion.mode == "service":
                    wrong.append(f"{repository.path(number)}: {words} and is still there; publish with --server")
            wrong += [line for number in listed if (line := repository.damage(number))]
            notes.append(f"{base / name}: {len(listed)} published")
        return Finding(VERSIONS, not wrong, "; ".join(wrong or notes))

    # ---- what is learned -----------------------------------------------------------------------

    def _standing(self, material: Material, ledger: Ledger | None) -> tuple[Table, Table | None] | None:
        """The table of the last step that is done, and that of a step that may be under way; None where none is done.

        One that is under way has made its synthetic rows, or needs none, and may have learned some shards already.
        """
        last = last_step(self._run)
        if last is None:
            return None
        round_ = ledger.history().unfinished if ledger else None
        begun = self._tables(material, ledger.deleted(material.ids, also=round_) if ledger else frozenset())
        if round_ is None or last.round == round_.number:  # nothing but its receipt is missing
            current, tables, following = begun.now(last), begun, Step(last.iteration + 1)
        else:
            current = self._tables(material, ledger.deleted(material.ids)).now(last) if ledger else begun.now(last)
            tables, following = begun, Step(last.iteration, round_.number)
        made = Samples(material.drawn, self._settings, self._run).path(following).exists()
        if made or self._settings.augment.method != "diffusion":
            with contextlib.suppress(Exhausted):
                return current, tables.now(following)
        return current, None

    def _tables(self, material: Material, deleted: frozenset[str]) -> Tables:
        return Tables(material, fit_prior(material, self._settings, self._run), self._settings, self._run, deleted)

    def _learner(self, material: Material) -> ShardedLearner:
        return learner_of(material, self._settings, self._run.path)

    def _weights(self, material: Material, current: Table, under_way: Table | None) -> Finding:
        there, expected = self._learner(material).artefacts(), self._names(material, current)
        if under_way is not None:
            expected |= self._names(material, under_way)
        strangers = sorted(set(there) - expected)
        if strangers:
            return Finding("weights", False, f"{strangers[0]} is not of the rows that are left ({len(strangers)} such)")
        recorded: dict[str, str] = {}
        for event in (*self._run.events("iteration"), *self._run.events("deletion")):
            recorded |= event.get("artefacts", {})
        changed = [name for name, digest in there.items() if recorded.get(name, digest) != digest]
        if changed:
            return Finding("weights", False, f"{changed[0]} was changed since it was recorded")
        return Finding("weights", True, f"{len(there)} files, all of the {len(current.records)} rows that are left")

    def _names(self, material: Material, table: Table) -> set[str]:
        """Files of the weights that learning a table gives; none of a table without rows."""
        if not len(table.records):
            return set()
        keys = self._learner(material).keys(table.records, table.shard, table.slice, table.weights)
        filled = set(table.shard.tolist())
        return {f"{s}/{key}.weights.h5" for s in filled for key in keys[s]}

    def _replayed(self, material: Material, table: Table) -> Finding:
        if not len(table.records):
            return Finding("replay", True, "no row is left to learn from")
        with tempfile.TemporaryDirectory() as directory:
            fresh = learner_of(material, self._settings, directory)
            fresh.learn(table.records, table.shard, table.slice, table.weights)
            again, there = fresh.artefacts(), self._learner(material).artefacts()
        other = sorted(name for name in again if there.get(name) != again[name])
        words = f"{other[0]} differs from a training without the rows" if other else "bit-identical to training anew"
        return Finding("replay", not other, words)
