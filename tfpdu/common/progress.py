"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from tqdm import tqdm


class Progress:
    """Counts units of work up to `total`.

    Args:
      title: what is being done, e.g. "generator".
      total: units of work in all.
      unit: the name of a unit, e.g. "images".
      done: units that an earlier, interrupted run has done already.
      every_seconds: the least time between two plain lines.
    """

    def __init__(self, title: str, total: int, unit: str = "it", done: int = 0, every_seconds: float = 20.0):
        self._title, self._total, self._unit, self._every = title, total, unit, every_seconds
        self._done = self._first = done
        self._start = self._last = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=title, unit=f" {unit}", leave=False, dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Adds finished units, with an optional short note such as 'loss 0.12'."""
        self._done += units
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
            return
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            rate = (self._done - self._first) / max(now - self._start, 1e-9)
            left = (self._total - self._done) / rate if rate else float("inf")
            say(f"{self._title}: {self._done}/{self._total} {self._unit}, {left / 60:.1f} min left {note}".rstrip())


def say(text: str) -> None:
    """Prints one line for the user, to stderr, so that stdout stays for results."""
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)
