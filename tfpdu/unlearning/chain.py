"""An append-only file of JSON lines, each sealed with a SHA-256 that covers the one before it.

A line is on the disk when `append` returns. Three things may happen to the end of the file, and are told apart:

- A *torn line*, without its line feed: a process was killed while it wrote. Nobody was told that the line is there;
  the next writer cuts it off.
- A whole line that was not yet acknowledged: it counts.
- An acknowledged line that is missing: somebody took it away. `<name>.head` holds the number and the checksum of the
  last line that was promised to somebody, so that this is noticed; a chain of checksums alone would not see it.

Anything else that does not fit, anywhere in the file, is an edited, removed, moved or doubled line. The chain reveals
mistakes and careless tampering; it has no key, so whoever may rewrite every file can also make a new chain.

Writers hold an exclusive, readers a shared `flock` of the file itself, for the time of one read or write.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpdu.common import UserError, files

START = "0" * 64  # stands for the checksum before the first line
_FIELDS = ("kind", "payload", "previous", "request_id", "seq", "sha256", "time")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line.

    Attributes:
      seq: its number, from 1.
      kind: what happened, such as "request".
      time: UTC, whole seconds.
      request_id: the request that it belongs to, or None.
      payload: JSON-ready.
      previous: the checksum of the line before, 64 hex digits.
      sha256: its own checksum, over everything above.
    """

    seq: int
    kind: str
    time: datetime.datetime
    request_id: str | None
    payload: Mapping[str, Any]
    previous: str
    sha256: str


class Chain:
    """The file and its head.

    Args:
      path: of the file; the head lies beside it, with `.head` in place of `.jsonl`.
    """

    def __init__(self, path: Path):
        self.path, self._head = path, path.with_suffix(".head")

    def entries(self) -> tuple[Entry, ...]:
        """All whole lines, checked; none where there is no file.

        Raises:
          UserError: a line was tampered with (it is named), or the file cannot be read.
        """
        acknowledged = self.head()  # read first: what it names was there before
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            if acknowledged[0]:
                raise UserError(f"{self.path}: is missing, and had {acknowledged[0]} acknowledged lines") from None
            return ()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror})") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            return self._checked(_read(handle))
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def appending(self, create: bool = False) -> Iterator["Appender"]:
        """Holds the file for writing, with a torn last line cut off.

        Args:
          create: make the file if it is missing; it is removed again if nothing is appended.

        Raises:
          UserError: the file is missing, was tampered with or cannot be written; in the block, any system error.
        """
        try:
            handle = self._open(create)
            try:
                try:
                    yield Appender(self, handle)
                finally:
                    if create and not os.fstat(handle).st_size:
                        self.path.unlink()
            finally:
                os.close(handle)  # whatever happened, for this is what lets the lock go
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror}); nothing was changed") from None

    def _open(self, create: bool) -> int:
        while True:
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0), 0o666)
            except FileNotFoundError:
                raise UserError(f"{self.path}: no such file") from None
            fcntl.flock(handle, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(self.path)):
                    return handle
            os.close(handle)  # it was removed while we waited for it

    def _checked(self, data: bytes) -> tuple[Entry, ...]:
        entries: list[Entry] = []
        for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1], 1):
            entry = _parsed(line)
            if entry is None:
                raise UserError(f"{self.path}: line {number}: was edited, its checksum does not fit")
            if (entry.seq, entry.previous) != (number, entries[-1].sha256 if entries else START):
                raise UserError(
                    f"{self.path}: line {number}: does not follow the line before it; one was edited, removed, moved"
                    " or doubled"
                )
            entries.append(entry)
        seq, checksum = self.head()
        if seq > len(entries):
            raise UserError(f"{self.path}: line {seq}: is missing, and was acknowledged")
        if seq and entries[seq - 1].sha256 != checksum:
            raise UserError(f"{self.path}: line {seq}: is not the line that was acknowledged")
        return tuple(entries)

    def head(self) -> tuple[int, str]:
        """Number and checksum of the last acknowledged line; (0, "") if there is none.

        Raises:
          UserError: the file that holds it is damaged.
        """
        try:
            number, checksum = self._head.read_text(encoding="ascii").split()
            return int(number), checksum
        except FileNotFoundError:
            return 0, ""
        except ValueError:
            raise UserError(f"{self._head}: expected a line number and a checksum") from None

    def write_head(self, entry: Entry) -> None:
        """Says that a line was promised to somebody."""
        files.write_private(self._head, f"{entry.seq} {entry.sha256}\n".encode())


class Appender:
    """A chain that is held for writing; lines are durable when `append` returns.

    Attributes:
      entries: all lines, those just appended too.
    """

    def __init__(self, chain: Chain, handle: int):
        self._chain, self._handle = chain, handle
        data = _read(handle)
        self.entries = chain._checked(data)
        self._size = data.rfind(b"\n") + 1
        if self._size < len(data):
            os.ftruncate(handle, self._size)
        if data:
            os.fsync(handle)  # a killed writer may have left a whole line that is not on the disk yet

    def append(
        self,
        kind: str,
        payload: Mapping[str, Any],
        time: datetime.datetime,
        request_id: str | None = None,
        promise: bool = False,
    ) -> Entry:
        """Adds one line. If that fails, the file is as it was.

        Args:
          kind: what happened; payload: JSON-ready; time: aware; request_id: as in `Entry`.
          promise: somebody will be told that the line is there, so that its loss must be noticed.

        Raises:
          OSError: the disk is full or cannot be written.
        """
        previous = self.entries[-1].sha256 if self.entries else START
        line, entry = _sealed(len(self.entries) + 1, kind, payload, time, request_id, previous)
        try:
            files.write_all(self._handle, line)
            os.fsync(self._handle)
            if promise:
                self._chain.write_head(entry)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        if entry.seq == 1:
            files.sync_directory(self._chain.path.parent)
        self._size += len(line)
        self.entries = (*self.entries, entry)
        return entry

    def promise(self, entry: Entry) -> None:
        """Marks a line as promised that a killed process wrote without telling anybody."""
        if entry.seq > self._chain.head()[0]:
            self._chain.write_head(entry)


def utc_text(time: datetime.datetime) -> str:
    """2025-01-31T12:00:00Z; fractions of a second are dropped."""
    return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def canonical(value: Any) -> bytes:
    """The one way in which a JSON-ready value is written, in ASCII: keys sorted, no spaces."""
    return _written(files.plain(value))


def _written(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _sealed(
    seq: int,
    kind: str,
    payload: Mapping[str, Any],
    time: datetime.datetime,
    request_id: str | None,
    previous: str,
) -> tuple[bytes, Entry]:
    fields = {"seq": seq, "kind": kind, "time": utc_text(time), "request_id": request_id, "payload": payload}
    body = canonical({**fields, "previous": previous})
    line = canonical({**fields, "previous": previous, "sha256": hashlib.sha256(body).hexdigest()})
    entry = _parsed(line)
    assert entry is not None
    return line + b"\n", entry


def _parsed(line: bytes) -> Entry | None:
    """The entry, or None if a byte of the line is not as it was written."""
    try:
        fields = json.loads(line)
        if sorted(fields) != list(_FIELDS) or _written(fields) != line:
            return None
        checksum = fields.pop("sha256")
        if hashlib.sha256(_written(fields)).hexdigest() != checksum:
            return None
        text = fields.pop("time")
        time = datetime.datetime.fromisoformat(text)
        return Entry(**fields, time=time, sha256=checksum) if utc_text(time) == text else None
    except (ValueError, TypeError, RecursionError):
        return None


def _read(handle: int) -> bytes:
    size = os.fstat(handle).st_size
    parts, offset = [], 0
    while offset < size:
        parts.append(os.pread(handle, size - offset, offset))
        if not parts[-1]:
            break
        offset += len(parts[-1])
    return b"".join(parts)
