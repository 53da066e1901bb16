"""A process that carries out orders, each in a forked child that may be killed at a change on the disk.

Importing TensorFlow takes long, so it is done once. Each child is forked before TensorFlow's runtime starts.
Orders come as JSON objects, one a line, on standard input; answers leave so on standard output.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tripwire import Tripwire

Order = dict[str, Any]


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
