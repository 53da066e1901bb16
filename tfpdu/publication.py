"""From a run directory to the versions that answer: what its last step has left is checked, released and published."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

import tfpdu
from tfpdu.bias.resample import source_id
from tfpdu.common import UserError, files
from tfpdu.common.gate import Gate
from tfpdu.common.run_directory import RunDirectory
from tfpdu.common.seeds import hashed_order
from tfpdu.ensemble import Ensemble
from tfpdu.ensemble.aggregate import resnet18_evaluator
from tfpdu.gates import audit_of, fired
from tfpdu.purge import cards
from tfpdu.serving.pictures import reader_of
from tfpdu.serving.publish import Deletions
from tfpdu.serving.release import EXAMPLES, Release, noise
from tfpdu.serving.versions import Repository
from tfpdu.settings import Settings
from tfpdu.state import Standing, standing
from tfpdu.unlearning import Ledger
from tfpdu.verification import PUBLISHED, VERSIONS, verify

WITHDRAWN = "withdrawn"  # line of the ledger: a version that answers nowhere any more


def release_of(settings: Settings, run: RunDirectory, precision: str = "", member_votes: bool = False) -> Release:
    """The ensemble of a run's last step with all that belongs to its export.

    Args:
      settings: of the run.
      run: its directory, held by this process.
      precision: of the exported networks, "float32" or "mixed_bfloat16"; by default as they were trained.
      member_votes: also answer with each member's choice; votes show which shard a deletion changed.

    Raises:
      UserError: there is no model, or the data set lacks a row of the run.
    """
    found = standing(settings, run)
    ledger = Ledger.create(run.path, settings.deletion.days)
    records = found.table.records
    height, width, channels = (int(side) for side in records.images.shape[1:])
    shape = (height, width, channels)
    precision = precision or settings.ensemble.precision
    synthetic = _synthetic(found, settings)
    return Release(
        ensemble=_in_precision(found.ensemble, settings, shape, records.classes, precision),
        class_names=tuple(records.label_names),
        reader=reader_of(settings.data.name, shape),
        examples=noise(shape, settings.seed) if synthetic is None else synthetic,
        examples_are="noise" if synthetic is None else "synthetic rows",
        lineage=_lineage(found, settings, run, ledger),
        precision=precision,
        audit=audit_of(run, found.step),
        member_votes=member_votes,
    )


def deletions(run: RunDirectory) -> Deletions:
    """What the run's ledger says is deleted; raises `UserError` where there is none or it was tampered with."""
    ledger = Ledger(run.path)
    return Deletions(ledger.salt.fingerprint, ledger.history().deleted)


def check(settings: Settings, run: RunDirectory, release: Release, gates: Sequence[Gate]) -> list[str]:
    """Refuses to publish what is not whole; says which gates fired.

    Args:
      settings: of the run.
      run: its directory.
      release: of its last step.
      gates: on attacks and group fairness of the last step, such as "moments.ci_low>0.55".

    Returns:
      A line a gate that fired; none where it may be published.

    Raises:
      UserError: a deletion round is not finished, the run directory does not verify, there is no audit to gate on, or
        a gate cannot be decided.
    """
    unfinished = Ledger(run.path).history().unfinished
    if unfinished is not None:
        raise UserError(f"--workdir={run.path}: deletion round {unfinished.number} is under way; finish it with forget")
    wrong = [finding for finding in verify(settings, run) if not finding.holds and finding.name != VERSIONS]
    if wrong:
        raise UserError(f"--workdir={run.path}: does not verify: {wrong[0].name}: {wrong[0].words}")
    if not release.audit:
        raise UserError(f"--workdir={run.path}: the last step has no audit, so it is not published")
    return fired(run, gates)


def note_publication(run: RunDirectory, repository: Repository) -> None:
    """Writes down where versions of a run go, for `verify`; before the first of them is there."""
    path, place = run.file(PUBLISHED), {"models": str(repository.base), "name": repository.name}
    known = files.read_json(path) if path.exists() else []
    if place not in known:
        files.write_json(path, [*known, place])


def note_withdrawals(run: RunDirectory, repository: Repository) -> None:
    """Puts into the run's ledger, once for each, which versions are withdrawn, since when, and who said so."""
    ledger = Ledger(run.path)
    known = {(e.payload["model"], e.payload["version"]) for e in ledger.entries(WITHDRAWN)}
    for number, version in repository.journal().versions.items():
        if version.state == "withdrawn" and (repository.name, number) not in known:
            said = {"time": version.times["withdrawn"], "reason": version.reason, "servers": list(version.confirmed)}
            ledger.note(WITHDRAWN, {"model": repository.name, "version": number, **said})


def _in_precision(
    ensemble: Ensemble, settings: Settings, shape: tuple[int, int, int], classes: int, precision: str
) -> Ensemble:
    own = settings.ensemble
    if precision == own.precision:
        return ensemble
    evaluator = resnet18_evaluator(shape, classes, own.stem, own.width, own.image_upscale, precision)
    return Ensemble(ensemble.members, evaluator, own, ensemble.sizes.astype(int).tolist())


def _synthetic(found: Standing, settings: Settings) -> np.ndarray | None:
    """Pictures of synthetic rows, uint8[m, h, w, c]; None where there are none: copies of originals are not."""
    records = found.table.records
    made = records.take(~records.is_original)
    if settings.augment.method != "diffusion" or not len(made):
        return None
    order = hashed_order(made.ids, settings.seed, "serving")[:EXAMPLES]
    return np.asarray(made.take(order).images[:])


def _lineage(found: Standing, settings: Settings, run: RunDirectory, ledger: Ledger) -> dict[str, Any]:
    drawn = set(found.state.material.drawn.ids.tolist())
    records, step = found.table.records, found.step
    learned = {source_id(row_id) for row_id in records.ids.tolist()} & drawn
    history = ledger.history()
    head = ledger.entries()[-1]
    filled = np.unique(found.table.shard).tolist()
    return {
        "tfpdu": tfpdu.__version__,
        "data": settings.data.name,
        "config": hashlib.sha256(json.dumps(files.plain(run.config), sort_keys=True).encode()).hexdigest(),
        "iteration": step.iteration,
        "round": step.round,
        "rounds_done": sum(round_.finished is not None for round_ in history.rounds.values()),
        "aggregate": settings.ensemble.aggregate,
        "members": [
            {"shard": s, "rows": int((found.table.shard == s).sum()), "weights": _hash(found.ensemble, member)}
            for member, s in enumerate(filled)
        ],
        "n_original": int(records.is_original.sum()),
        "n_synthetic": int((~records.is_original).sum()),
        "generator": {
            "lineage": settings.generator.lineage if settings.augment.method == "diffusion" else None,
            "ids": sorted(str(files.read_json(path)["id"]) for path in cards(run)),
        },
        "ledger": {"line": head.seq, "sha256": head.sha256},
        "salt": ledger.salt.fingerprint,
        "rows": sorted(ledger.salt.digests("id", learned).values()),
    }


def _hash(ensemble: Ensemble, member: int) -> str:
    return files.array_hash(*ensemble.weights(member))
