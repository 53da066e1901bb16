"""A process that carries out orders, each in a forked child that may be killed at a change on the disk.

Importing TensorFlow takes long, so it is done once. Each child is forked before TensorFlow's runtime starts.
Orders come as JSON objects, one a line, on standard input; answers leave so on standard output.
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.tripwire import WAYS, Tripwire

Order = dict[str, Any]


class Point(NamedTuple):
    """Where a command is killed: its number in a story, the number of the change, how, and the change's name."""

    part: int
    number: int
    way: str
    name: str

    @property
    def at(self) -> tuple[int, str]:
        """As an order has it."""
        return self.number, self.way


def points(changes: Iterable[Iterable[str]]) -> list[Point]:
    """Every way to die at every change of each part of a story."""
    return [
        Point(part, number, way, name)
        for part, names in enumerate(changes)
        for number, name in enumerate(names)
        for way in WAYS[name.split()[0]]
    ]


def sample(order: list[Point], count: int, seed: int) -> list[Point]:
    """Points of every kind: by part, by how, and by what changes, files with like names being of one kind."""
    kinds: dict[tuple, list[Point]] = {}
    for number in np.random.default_rng(seed).permutation(len(order)):
        point = order[number]
        kinds.setdefault((point.part, point.way, re.sub(r"\d+", "#", point.name)), []).append(point)
    turns = itertools.zip_longest(*kinds.values())  # one of each kind, then another of each
    chosen = [point for turn in turns for point in turn if point is not None]
    return sorted(chosen[:count], key=lambda p: (p.part, p.number))


class Doomed:
    """A process that carries out orders by `serve`.

    Args:
      module: that is run.
      folder: for its log.
    """

    def __init__(self, module: str, folder: Path):
        self._log = folder / "log"
        command = [sys.executable, "-m", module]
        root = Path(__file__).parents[1]
        self.process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def do(self, order: Order, at: tuple[int, str] | None = None) -> dict[str, Any]:
        """The answer to an order, of which the child is killed at the change `at`."""
        self._log.with_suffix(".seen").unlink(missing_ok=True)
        self.process.stdin.write(json.dumps({**order, "at": at, "log": str(self._log)}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the process has ended"
        return json.loads(answer)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(60)


def serve(folder: str, work: Callable[[Order], None], after: Callable[[Order], None], patience: int) -> None:
    """Answers {"status", "seen", "output"} to each order; status is as `subprocess` has it, negative for a signal.

    Args:
      folder: key of the order that names the folder under whose changes the child may be killed (order["at"]).
      work: what it does.
      after: what it does then; no change is counted any more.
      patience: seconds after which a child that hangs is given up.
    """
    for line in sys.stdin:
        order = json.loads(line)
        log = Path(order["log"])
        child = os.fork()
        if not child:
            signal.alarm(patience)
            _live(order, Path(order[folder]), log, work, after)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen = log.with_suffix(".seen")
        answer = {"status": status, "output": log.read_text(), "seen": seen.read_text() if seen.exists() else ""}
        print(json.dumps(answer), flush=True)


def _live(order: Order, folder: Path, log: Path, work: Callable[[Order], None], after: Callable[[Order], None]) -> None:
    status = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout.reconfigure(line_buffering=True)
        folder.mkdir(exist_ok=True)
        seen = log.with_suffix(".seen")
        tripwire = Tripwire(folder, tuple(order["at"]) if order["at"] else None, seen)
        tripwire.lay()
        work(order)
        seen.write_text(json.dumps(tripwire.seen))
        after(order)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
