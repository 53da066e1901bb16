"""A process that publishes, each time in a forked child that is killed at a change on the disk or after a while.

Importing TensorFlow and exporting take long, so both are done once: children publish versions that lie ready. As in
`tests.doomed` each child is forked before TensorFlow's runtime starts; those that export for real start their own.

    python -m tests.serving.doomed  < orders, one JSON object a line  > answers, one JSON object a line
"""

import json
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from tests.tripwire import Tripwire
from tfpdu.common import files
from tfpdu.serving import publish, versions
from tfpdu.serving.client import Client

PATIENCE = 120  # seconds after which a child that hangs is given up
SALT = "0123456789abcdef"


class Ready:
    """A release whose export is the copy of a version that lies ready; enough of `Release` for a `Publisher`."""

    def __init__(self, path: Path):
        self.path, self.lineage = path, files.read_json(path / "assets.extra" / "lineage.json")
        self.identity = self.lineage["identity"]


def copied(release: Ready, directory: Path, model: str, atomic: bool = True) -> Path:
    """`tfpdu.serving.export.export` from the point where the files are written: the same steps on the disk."""
    from tfpdu.serving import export

    graph, extra = export._write, release.path
    export._write = lambda release, to, model, max_batch: shutil.copytree(extra, to)
    try:
        return export.export(release, directory, model, atomic)
    finally:
        export._write = graph


def serve() -> None:
    """Answers {"status", "seen", "output"} to each order."""
    for line in sys.stdin:
        order = json.loads(line)
        log = Path(order["log"])
        child = os.fork()
        if not child:
            _live(order, log)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen = log.with_suffix(".seen")
        print(json.dumps({"status": status, "output": log.read_text(), "seen": seen.exists() and seen.read_text()}))
        sys.stdout.flush()


def _live(order: dict[str, Any], log: Path) -> None:
    status = 1
    try:
        signal.alarm(PATIENCE)
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        if order["after"] is not None:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, order["after"])
        at = tuple(order["at"]) if order["at"] else None
        seen = log.with_suffix(".seen")
        base = Path(order["models"])
        base.mkdir(exist_ok=True)
        tripwire = Tripwire(base, at, seen)
        tripwire.lay()
        _publish(order, base)
        seen.write_text(json.dumps(tripwire.seen))
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _publish(order: dict[str, Any], base: Path) -> None:
    publish.export = copied
    repository = versions.Repository(base, "toy")
    settings = publish.PublishSettings(patience=60, every=0.01, erase=True, atomic=order["atomic"])
    publisher = publish.Publisher(
        repository,
        publish.Deletions(SALT, frozenset(order["deleted"])),
        [Client(server, "toy") for server in order["servers"]],
        settings,
        lambda path: {"differences": {"skipped": 0.0}},
        lambda line: print(line, flush=True),
    )
    with repository.hold():
        publisher.publish(Ready(Path(order["ready"])), "stable", "")


if __name__ == "__main__":
    serve()
    os._exit(0)  # TensorFlow takes seconds to leave
