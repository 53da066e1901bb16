"""Ctrl-C and SIGTERM end a run at a safe point: where everything done so far is on disk."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tfpdu.common.errors import StopRequested

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_pending: list[str] = []


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside the block the first signal is only remembered, for `safe_point`; a second one kills."""

    def remember(number: int, frame: FrameType | None) -> None:
        _pending.append(signal.Signals(number).name)
        for each in _SIGNALS:  # the second one may be the other kind
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, remember) for number in _SIGNALS}
    try:
        yield
    finally:
        _pending.clear()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def request(reason: str) -> None:
    """Asks for a stop as a signal would, from inside the process; inside `deferred` only."""
    _pending.append(reason)


def safe_point() -> None:
    """Raises `StopRequested` if a signal came. Call it where a resumed run would lose nothing."""
    if _pending:
        raise StopRequested(_pending[0])


def stopping() -> bool:
    """True when a signal came and the work should write its checkpoint and call `safe_point`."""
    return bool(_pending)
