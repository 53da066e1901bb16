"""One ensemble as one SavedModel directory with all that belongs to it; there as a whole or not at all.

    saved_model.pb  variables/  fingerprint.pb
    assets.extra/   tf_serving_warmup_requests  golden.npz  golden.json  lineage.json  audit.json  files.json

`files.json` names every other file with its SHA-256, so that a copy can be checked.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfpdu.common import UserError, files
from tfpdu.serving.examples import WARMUP, write_golden, write_warmup
from tfpdu.serving.graph import MAX_BATCH, ServedEnsemble
from tfpdu.serving.release import Release

EXTRA = "assets.extra"
GRAPH = "saved_model.pb"  # a server takes a directory that holds it for a version
UNFINISHED = ".export-"  # begins the name of a directory that is being written; no server takes it for a version
_AUDIT = ("attack", "protocol", "population", "success_rate", "ci_low", "ci_high", "auc", "tpr_at_fpr")


def export(
    release: Release, directory: str | Path, model: str, atomic: bool = True, max_batch: int = MAX_BATCH
) -> Path:
    """Writes a version.

    Args:
      release: what to write.
      directory: `<base>/<model>/<number>`, does not exist yet; a server may watch its parent.
      model: the name under which it is served, for the warm-up requests.
      atomic: write beside and rename. False for storage whose directories cannot be renamed at once, such as mounted
        buckets: files are then copied there one by one, with saved_model.pb last.
      max_batch: pictures in a request at most.

    Returns:
      The directory.

    Raises:
      UserError: it exists, or tensorflow-serving-api is not installed.
    """
    directory = Path(directory)
    if directory.exists():
        raise UserError(f"{directory}: exists; a version is never overwritten")
    directory.parent.mkdir(parents=True, exist_ok=True)
    if not atomic:
        with tempfile.TemporaryDirectory() as elsewhere:
            _write(release, Path(elsewhere, "version"), model, max_batch)
            _copy(Path(elsewhere, "version"), directory)
        return directory
    beside = directory.with_name(f"{UNFINISHED}{directory.name}")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        _write(release, beside, model, max_batch)
        os.rename(beside, directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    files.sync_directory(directory.parent)
    return directory


def lineage(directory: Path) -> dict[str, Any]:
    """The lineage of a version; raises `UserError` where it is missing or broken."""
    return dict(files.read_json(directory / EXTRA / "lineage.json"))


def damage(directory: Path) -> str | None:
    """What is wrong with the files of a version, in a line; None if all are there as they were written."""
    listed = directory / EXTRA / "files.json"
    if not listed.is_file() or not (directory / GRAPH).is_file():
        return f"{directory}: is no whole version"
    written: Mapping[str, str] = files.read_json(listed)
    there = {str(p.relative_to(directory)): p for p in directory.rglob("*") if p.is_file() and p != listed}
    for name in sorted(written.keys() | there.keys()):
        if name not in there or name not in written:
            return f"{directory / name}: {'is missing' if name in written else 'was added'}"
        if files.file_hash(there[name]) != written[name]:
            return f"{directory / name}: was changed"
    return None


def _write(release: Release, directory: Path, model: str, max_batch: int) -> None:
    served = ServedEnsemble(release.ensemble, release.class_names, release.reader, release.member_votes, max_batch)
    tf.saved_model.save(served, str(directory), signatures=served.signatures())
    extra = directory / EXTRA
    extra.mkdir()
    write_golden(release, extra)
    write_warmup(model, release.examples, extra / WARMUP)
    files.write_json(extra / "lineage.json", {"model": model, "identity": release.identity, **release.lineage})
    files.write_json(extra / "audit.json", [{key: row.get(key) for key in _AUDIT} for row in release.audit])
    written = sorted(path for path in directory.rglob("*") if path.is_file())
    files.write_json(extra / "files.json", {str(p.relative_to(directory)): files.file_hash(p) for p in written})
    _sync(directory)


def _copy(source: Path, directory: Path) -> None:
    names = sorted(
        (p.relative_to(source) for p in source.rglob("*") if p.is_file()), key=lambda p: (str(p) == GRAPH, p)
    )
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, directory / name)
        _sync_file(directory / name)
    _sync(directory)


def _sync(directory: Path) -> None:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            _sync_file(path)
        else:
            files.sync_directory(path)
    files.sync_directory(directory)


def _sync_file(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
