"""What a process changes on the disk in one directory, counted, and its death by SIGKILL at one of these changes.

A kill loses nothing that was written, so what the next process finds depends only on which changes came before. Those
that matter are creating, renaming, removing and cutting files and folders, and lines appended to a record.
"""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# How a process can die at each kind of change. "torn": half of the line, or of the temporary file, is written.
WAYS = {
    "create": ("after",),
    "append": ("torn", "after"),
    "rename": ("torn", "before", "after"),
    "remove": ("before", "after"),
    "cut": ("after",),
}
_RANDOM = {r"\.tmp-[a-z0-9_]{8}": ".tmp-*", r"[0-9a-f]{32}": "*", r"npz-[0-9a-f]{16}": "npz"}


class Tripwire:
    """Watches a directory in this process, once `laid`.

    Args:
      directory: the run directory.
      at: the number of the change to die at, from 0, and in which of `WAYS`; None lets the process live.
      last_words: a file for the name of that change.

    Attributes:
      seen: the changes so far, such as "rename samples/0000.npz", with what is random in names left out.
    """

    def __init__(self, directory: Path, at: tuple[int, str] | None, last_words: Path):
        self._directory, self._at, self._last_words = directory.resolve(), at, last_words
        self.seen: list[str] = []
        self._truncate = os.truncate  # as it is before it is replaced
        self._sizes = {str(path): path.stat().st_size for path in self._directory.rglob("*.jsonl")}

    def lay(self) -> None:
        """From here on every change counts, in this process for good."""
        for name in ("replace", "rename"):
            self._watch(name, "rename", lambda source, to, **_: to, lambda path: True)
        for name in ("unlink", "remove", "rmdir"):
            self._watch(name, "remove", lambda path, dir_fd=None: _inside(path, dir_fd), os.path.lexists)
        self._watch("mkdir", "create", lambda path, *_, dir_fd=None, **__: _inside(path, dir_fd), _missing)
        self._watch("open", "create", _creates, _missing)
        self._watch("fsync", "append", _of_handle, self._grew)
        for name in ("truncate", "ftruncate"):
            self._watch(name, "cut", _cut, os.path.isfile)

    def _watch(self, name: str, kind: str, path_of: Callable[..., Any], counts: Callable[[str], bool]) -> None:
        function = getattr(os, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            path = path_of(*arguments, **options)
            place = self._place(path) if path is not None else None
            if place is None or not counts(str(path)):
                return function(*arguments, **options)
            here = self._at is not None and len(self.seen) == self._at[0]
            self.seen.append(f"{kind} {place}")
            if here and self._at[1] != "after":
                if self._at[1] == "torn":
                    self._tear(Path(arguments[0] if kind == "rename" else path), kind)
                self._die()
            result = function(*arguments, **options)
            if here:
                self._die()
            return result

        setattr(os, name, watched)

    def _grew(self, path: str) -> bool:
        """Whether a record has a new line since it was last on the disk."""
        if not path.endswith(".jsonl"):
            return False
        before, self._sizes[path] = self._sizes.get(path, 0), os.path.getsize(path)
        return before != self._sizes[path]

    def _place(self, path: Any) -> str | None:
        """The path below the directory, without what is random in it; None elsewhere, and for the lock."""
        whole = Path(os.path.abspath(path))
        whole = whole.parent.resolve() / whole.name
        if not whole.is_relative_to(self._directory) or whole.name == ".lock" or whole == self._directory:
            return None
        text = str(whole.relative_to(self._directory))
        for pattern, stands in _RANDOM.items():
            text = re.sub(pattern, stands, text)
        return text

    def _tear(self, path: Path, kind: str) -> None:
        if path.is_dir():
            return
        data = path.read_bytes()
        whole = data[:-1].rfind(b"\n") + 1 if kind == "append" else 0
        self._truncate(path, (whole + len(data)) // 2)

    def _die(self) -> None:
        self._last_words.write_text(self.seen[-1])
        os.kill(os.getpid(), signal.SIGKILL)


def _of_handle(handle: int) -> str:
    return os.readlink(f"/proc/self/fd/{handle}")


def _cut(file: Any, *_: Any) -> Any:
    return _of_handle(file) if isinstance(file, int) else file


def _inside(path: Any, folder: int | None) -> str:
    return os.path.join(_of_handle(folder), path) if folder is not None else os.fspath(path)


def _creates(path: Any, flags: int, *_: Any, dir_fd: int | None = None, **__: Any) -> str | None:
    return _inside(path, dir_fd) if flags & os.O_CREAT else None


def _missing(path: str) -> bool:
    """Whether it can be made: what makes a folder with its parents tries the folder first."""
    return not os.path.lexists(path) and os.path.isdir(os.path.dirname(path))
