"""A deletion request from its wording to the ledger, and what carrying it out would take."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfpdu.audit.concentration import SHOWN, concentrated
from tfpdu.common import UserError, files
from tfpdu.common.run_directory import RunDirectory
from tfpdu.data import unlabelled
from tfpdu.material import ROWS, prepare_data
from tfpdu.receipts import incomplete
from tfpdu.serving.versions import Repository
from tfpdu.settings import Settings
from tfpdu.state import open_ledger
from tfpdu.steps import last_step
from tfpdu.synthesis import Table
from tfpdu.tables import Tables
from tfpdu.unlearning import Ledger, Selector, select, theorem_guard
from tfpdu.unlearning.cost import retraining_cost
from tfpdu.unlearning.history import Request
from tfpdu.verification import PUBLISHED


def acknowledge(settings: Settings, run: RunDirectory, selector: Selector, request_id: str | None = None) -> Request:
    """Puts a request into the ledger; when this returns it is on the disk. Needs no lock that a running job holds.

    Args:
      settings: of the run.
      run: its directory.
      selector: the wording.
      request_id: the asker's name for it; asked for again, it is one request.

    Raises:
      UserError: the run does not hold the rows, or the ledger was tampered with or cannot be written.
    """
    ids = () if _earlier(run, selector, request_id) else _ids(settings, run, selector)
    return Ledger.create(run.path, settings.deletion.days).request(selector, ids, request_id)


def _earlier(run: RunDirectory, selector: Selector, request_id: str | None) -> Request | None:
    ledger = open_ledger(run)
    return ledger.acknowledged(request_id, selector) if ledger and request_id else None


def _ids(settings: Settings, run: RunDirectory, selector: Selector) -> tuple[str, ...]:
    """The rows that are meant; ids are looked up in the run's record alone, all else needs the data set."""
    if not run.file(ROWS).exists():
        raise UserError(f"--workdir={run.path}: this run holds no rows yet")
    ledger = open_ledger(run)
    deleted = ledger.deleted if ledger else None
    by_id = bool(selector.ids)
    held = unlabelled(_recorded_ids(run)) if by_id else prepare_data(settings, run).held()
    if deleted:
        held = held.without(sorted(deleted(held.ids.tolist())))
    return select(held, selector, deleted)


def _recorded_ids(run: RunDirectory) -> list[str]:
    return [row_id for pool in files.read_json(run.file(ROWS))["pools"].values() for row_id in pool]


def forecast_deletion(settings: Settings, run: RunDirectory, selector: Selector) -> str:
    """Text for the terminal: rows, shards, cost, minutes, and what would still hold something. Changes nothing."""
    ids = _ids(settings, run, selector)
    material, ledger = prepare_data(settings, run), open_ledger(run)
    deleted = ledger.deleted(material.ids) if ledger else frozenset()
    pools = {name: len(set(pool) & set(ids)) for name, pool in material.pools.ids().items()}
    lines = [f"rows: {len(ids)}: " + ", ".join(f"{count} {name}" for name, count in pools.items() if count)]
    step = last_step(run)
    hit = np.zeros(0, bool)
    if step is None:
        lines.append("classifier: not learned yet")
    else:
        tables = Tables(material, material.prior, settings, run, deleted)
        # A plain alternative to diffusion makes its rows anew out of the originals: these stand for all.
        table = tables.now(step) if settings.augment.method == "diffusion" else tables.placed(step)
        hit = np.isin(table.records.ids, ids)
        lines += _cost_lines(settings, run.events("iteration"), table, hit)
        known = tables.originals(step).records
        losses = concentrated(known, np.isin(known.ids, ids))
        lines += [f"concentrated: {loss.as_line()}" for loss in losses[:SHOWN]]
    lines += [f"not complete: {line}" for line in incomplete(run, material, settings, ids)]
    lines.append(f"published versions that know them: {', '.join(_versions(run, ids)) or 'none'}")
    return "\n".join(lines)


def _versions(run: RunDirectory, ids: Sequence[str]) -> list[str]:
    """Paths of the versions of the run whose lineage names rows; those whose lineage cannot be read count, too."""
    ledger = open_ledger(run)
    if ledger is None or not run.file(PUBLISHED).exists():
        return []
    digests = frozenset(ledger.salt.digests("id", ids).values())
    places = (Repository(Path(place["models"]), place["name"]) for place in files.read_json(run.file(PUBLISHED)))
    return [str(place.path(number)) for place in places for number in place.tainted(digests)]


def _cost_lines(settings: Settings, iterations: list[dict[str, float]], table: Table, hit: np.ndarray) -> list[str]:
    """Exact, if each row that comes lies where the one that it stands in for lay (bool[n] `hit`)."""
    if not hit.any():
        return ["classifier: knows none of them, nothing to retrain"]
    ensemble, first, last = settings.ensemble, iterations[0], iterations[-1]
    shard, slice_ = table.shard[hit], table.slice[hit]
    after = np.where(hit & (ensemble.slice_order == "forget"), 1, table.slice)  # what a round makes is in no base
    share = retraining_cost(ensemble, table.shard, after, shard, slice_) / (len(hit) * ensemble.epochs)
    work = share * (last["n_original"] + last["n_synthetic"]) * ensemble.epochs
    seconds = first["train_seconds"] / first["row_epochs"] * work
    named = ", ".join(f"{s + 1} (from slice {slice_[shard == s].min() + 1})" for s in np.unique(shard))
    lines = [
        f"classifier: knows {hit.sum()} of them, in shard {named}",
        f"retraining: about {share:.0%} of a full training in rows x epochs, {seconds / 60:.1f} min",
    ]
    capacity, originals = settings.loop.capacity, int(first["n_original"])
    guard = theorem_guard(originals, capacity) if capacity < 1 else originals
    if hit.sum() > guard:
        lines.append(
            f"beyond config.loop.capacity ({guard} rows at once): the model may get worse; it is done all the same"
        )
    return lines
