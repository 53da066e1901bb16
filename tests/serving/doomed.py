"""A process that publishes, each time in a forked child that is killed at a change on the disk or after a while.

Exporting takes long, so it is done once: children publish versions that lie ready. Those that export for real start
a runtime of their own.

    python -m tests.serving.doomed  < orders, one JSON object a line  > answers, one JSON object a line
"""

import os
import shutil
import signal
from pathlib import Path

from tests.forked import Order, serve
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


def work(order: Order) -> None:
    """Publishes; is killed after order["after"] seconds, if that is not None."""
    if order["after"] is not None:
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, order["after"])
    publish.export = copied
    repository = versions.Repository(Path(order["models"]), "toy")
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
    serve("models", work, lambda order: None, PATIENCE)
    os._exit(0)  # TensorFlow takes seconds to leave
