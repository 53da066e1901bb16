"""The deletion ledger of a run directory: which rows were asked to be forgotten, and how far that has come.

    ledger.jsonl        the chain: requests, rounds and what was done, see `tfpdu.unlearning.chain`
    ledger.head         number and checksum of the last request that was acknowledged
    ledger.salt         the secret of the digests, see `tfpdu.unlearning.salt`
    ledger.clear/N.json the ids of the request on line N, its subject and its wording, until they are erased

A line never holds an id, a subject or a condition in the clear, only salted digests of them. What a round needs in
the clear lies beside the chain, one file a request, and the line holds digests of all of it. So erasing is nothing
but removing files: no line changes, the chain stays whole, a kill at any moment leaves either a file that is removed
the next time or one that is gone; and since a file is on the disk before its line is, no request that counts is ever
without one. (Encrypting the ids inside the line and throwing the key away would need the same files, for the keys.)

A request goes from *pending* to *running* when a round takes it and to *done* when the round ends. A round takes all
that is pending at its start and says so in one line; killed, it is found again with the same requests and nothing
else. Only short locks of the ledger's own file are held, so requests are acknowledged while a job runs.
"""

import contextlib
import datetime
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfpdu.common import UserError, files
from tfpdu.unlearning.chain import Appender, Chain, Entry, canonical
from tfpdu.unlearning.history import History, Request, Round
from tfpdu.unlearning.salt import Salt
from tfpdu.unlearning.selection import Selector

DAYS = 30  # until a request is due
TELLING = 4  # characters; shorter ids, such as "7", stand in many texts that do not mean them
RESERVED = ("opened", "request", "round started", "round done", "erased")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class Ledger:
    """The ledger of a run directory that has one.

    Args:
      directory: the run directory.
      clock: gives the time that lines carry.

    Raises:
      UserError: there is no ledger, it was tampered with, or its secret is missing or another's.
    """

    def __init__(self, directory: str | os.PathLike[str], clock: Callable[[], datetime.datetime] = _now):
        self.directory, self._clock = Path(directory), clock
        self._chain = Chain(self.directory / "ledger.jsonl")
        self._clear = self.directory / "ledger.clear"
        entries = self._chain.entries()
        if not entries:
            raise UserError(f"{self._chain.path}: there is no deletion ledger")
        self.salt = Salt.load(self.directory / "ledger.salt")
        if self.salt.fingerprint != entries[0].payload.get("salt"):
            raise UserError(f"{self.directory / 'ledger.salt'}: is not the secret that this ledger was made with")
        self.days: int = entries[0].payload["days"]

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        days: int | None = None,
        clock: Callable[[], datetime.datetime] = _now,
        secret: bytes | None = None,
    ) -> "Ledger":
        """Makes the ledger, or opens the one that is there.

        Args:
          directory: the run directory, exists.
          days: after which a request is due, at least 1; 30 by default.
          clock: as above.
          secret: 32 bytes for the digests; random by default.

        Raises:
          UserError: the ledger that is there has other days, or the directory cannot be written.
        """
        if days is not None and (int(days) != days or days < 1):
            raise UserError(f"days: expected a whole number of at least 1, got {days}")
        chain, salt_file = Chain(Path(directory) / "ledger.jsonl"), Path(directory) / "ledger.salt"
        if not chain.entries() or not chain.head()[0]:
            with chain.appending(create=True) as line:
                if line.entries:
                    line.promise(line.entries[-1])
                else:
                    _open(line, salt_file, {"days": int(days or DAYS)}, clock(), secret)
        ledger = cls(directory, clock)
        if days is not None and ledger.days != days:
            raise UserError(f"{chain.path}: made with requests due after {ledger.days} days, not {days}")
        return ledger

    @classmethod
    def found(cls, directory: str | os.PathLike[str]) -> "Ledger | None":
        """The ledger of a run directory, or None where nothing was ever acknowledged.

        A file without a whole line is no ledger: a process was killed while it made one.

        Raises:
          UserError: as above.
        """
        return cls(directory) if Chain(Path(directory) / "ledger.jsonl").entries() else None

    # ---- requests ----------------------------------------------------------------------------

    def request(self, selector: Selector, ids: Sequence[str], request_id: str | None = None) -> Request:
        """Acknowledges a request: when this returns, it is on the disk and will not be lost.

        The same id with the same wording returns the first acknowledgement, whatever `ids` are now.

        Args:
          selector: the wording.
          ids: of the rows that it means, as `select` finds them.
          request_id: one line of at most 200 characters, without an id or subject in it, for it is never erased; a
            random one by default.

        Raises:
          UserError: the id was used for another wording, there are no rows, or the disk is full or read-only.
        """
        name = uuid.uuid4().hex if request_id is None else request_id
        rows = sorted({str(row_id) for row_id in ids})
        with self._appending() as line:
            earlier = self._earlier(History.of(line.entries, self.days), name, selector)
            if earlier is not None:
                line.promise(line.entries[earlier.seq - 1])
                return earlier
            _check_request(request_id, selector, rows)
            payload = {
                "rows": sorted(self.salt.digests("id", rows).values()),
                "subject": self.salt.digest("subject", selector.subject) if selector.subject else None,
                "asked": self._asked(selector),
            }
            self._append_with_clear(line, name, payload, {"asked": selector.wording(), "ids": rows})
            return History.of(line.entries, self.days).requests[name]

    def acknowledged(self, request_id: str, selector: Selector) -> Request | None:
        """The acknowledgement of an earlier request of this id, or None; ask before resolving a wording to rows.

        Raises:
          UserError: the id was used for another wording.
        """
        return self._earlier(self.history(), request_id, selector)

    def history(self) -> History:
        """All requests and rounds, as of now."""
        return History.of(self._chain.entries(), self.days)

    def entries(self, kind: str | None = None) -> tuple[Entry, ...]:
        """All lines, or those of a kind, in order and checked."""
        return tuple(entry for entry in self._chain.entries() if kind in (None, entry.kind))

    def pending(self) -> tuple[Request, ...]:
        """Acknowledged requests that no round has taken, first come first."""
        return tuple(r for r in self.history().requests.values() if r.state == "pending")

    def done(self) -> tuple[Request, ...]:
        """Requests whose round has ended, first come first."""
        return tuple(r for r in self.history().requests.values() if r.state == "done")

    # ---- rounds ------------------------------------------------------------------------------

    def start_round(self) -> Round | None:
        """The round that was killed, if there is one; else a new one with all that is pending, or None."""
        with self._appending() as line:
            history = History.of(line.entries, self.days)
            if history.unfinished is not None:
                return history.unfinished
            names = [r.request_id for r in history.requests.values() if r.state == "pending"]
            if not names:
                return None
            number = len(history.rounds) + 1
            line.append("round started", {"round": number, "requests": names}, self._clock())
            return History.of(line.entries, self.days).rounds[number]

    def covered(self, round_: Round) -> tuple[str, ...]:
        """The ids of the rows that a round deletes, in the clear and sorted.

        Raises:
          UserError: they were erased, or a file that holds some was changed or removed.
        """
        requests = self.history().requests
        return tuple(sorted({row_id for name in round_.requests for row_id in self.clear_ids(requests[name])}))

    def clear_ids(self, request: Request) -> tuple[str, ...]:
        """The ids of the rows of one request, sorted; raises as `covered`."""
        path = self._clear_file(request.seq)
        if request.erased or (request.state == "done" and not path.exists()):
            raise UserError(f"request {request.request_id!r}: its ids were erased")
        clear = files.read_json(path)
        try:
            rows, asked = clear["ids"], canonical(clear["asked"]).decode()
            same = set(self.salt.digests("id", rows).values()) == request.digests
            same = same and self.salt.digest("asked", asked) == request.asked
        except (KeyError, TypeError):
            same = False
        if not same:
            raise UserError(f"{path}: is not what request {request.request_id!r} was acknowledged with")
        return tuple(rows)

    def finish_round(self, round_: Round, result: Mapping[str, Any] | None = None) -> Round:
        """Marks a round as done; a second call changes nothing and returns the first one's result.

        Args:
          round_: as `start_round` gave it.
          result: JSON-ready, without ids or subjects: they would outlive `erase`.

        Raises:
          UserError: there is no such round, or `result` holds an id or subject.
        """
        with self._appending() as line:
            history = History.of(line.entries, self.days)
            there = history.rounds.get(round_.number)
            if there is None or there.requests != round_.requests:
                raise UserError(f"{self._chain.path}: holds no round {round_.number} with these requests")
            if there.finished is not None:
                return there
            self._refuse_clear(result or {}, history)
            line.append("round done", {"round": round_.number, "result": dict(result or {})}, self._clock())
            return History.of(line.entries, self.days).rounds[round_.number]

    def note(self, kind: str, payload: Mapping[str, Any], request_id: str | None = None) -> Entry:
        """Adds a line of another kind, such as "purge".

        Raises:
          UserError: the kind is one of the ledger's own, or one of the payload's texts is an id or subject (of four
            characters or more).
        """
        if kind in RESERVED:
            raise UserError(f"ledger: a line of kind {kind!r} is not a note")
        with self._appending() as line:
            self._refuse_clear(payload, History.of(line.entries, self.days))
            return line.append(kind, payload, self._clock(), request_id)

    # ---- what is gone ------------------------------------------------------------------------

    def deleted(self, ids: Iterable[str], also: Round | None = None) -> frozenset[str]:
        """Those of some ids that finished rounds have deleted; erased or not.

        Args:
          ids: candidates, such as those of a table.
          also: a round that is not finished; its rows count too. A table for retraining leaves out all of these.
        """
        history = self.history()
        gone = history.deleted | (history.rounds[also.number].digests if also is not None else frozenset())
        return frozenset(row_id for row_id, digest in self.salt.digests("id", ids).items() if digest in gone)

    def requested(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of some ids that any acknowledged request names, pending ones too."""
        asked = self.history().requested
        return frozenset(row_id for row_id, digest in self.salt.digests("id", ids).items() if digest in asked)

    def erase(self, round_: Round) -> None:
        """Removes the clear ids, subject and wording of a finished round's requests; safe to repeat.

        The bytes are unlinked, not overwritten: journals, snapshots and backups of the disk are not ours to reach.

        Raises:
          UserError: the round is not finished, or the directory cannot be written.
        """
        with self._appending() as line:
            history = History.of(line.entries, self.days)
            there = history.rounds.get(round_.number)
            if there is None or there.finished is None:
                raise UserError(f"{self._chain.path}: round {round_.number} is not finished; its ids are still needed")
            for name in there.requests:
                self._clear_file(history.requests[name].seq).unlink(missing_ok=True)
            if self._clear.exists():
                files.sync_directory(self._clear)
            if not there.erased:
                line.append("erased", {"round": there.number}, self._clock())

    # ---- inside ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _appending(self) -> Any:
        """Holds the chain; first removes clear files of requests that a killed process did not come to write."""
        with self._chain.appending() as line:
            requests = {f"{entry.seq}.json" for entry in line.entries if entry.kind == "request"}
            for path in self._clear.glob("*"):
                if path.name not in requests:
                    path.unlink()
            yield line

    def _append_with_clear(
        self, line: Appender, name: str, payload: Mapping[str, Any], clear: Mapping[str, Any]
    ) -> None:
        path = self._clear_file(len(line.entries) + 1)
        new = not self._clear.exists()
        try:
            self._clear.mkdir(mode=0o700, exist_ok=True)
            if new:
                files.sync_directory(self.directory)
            files.write_private(path, canonical(clear))
            line.append("request", payload, self._clock(), name, promise=True)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
                if new:
                    self._clear.rmdir()
            raise

    def _clear_file(self, seq: int) -> Path:
        return self._clear / f"{seq}.json"

    def _asked(self, selector: Selector) -> str:
        return self.salt.digest("asked", canonical(selector.wording()).decode())

    def _earlier(self, history: History, name: str, selector: Selector) -> Request | None:
        earlier = history.requests.get(name)
        if earlier is not None and earlier.asked != self._asked(selector):
            raise UserError(f"--request_id={name}: was used for another request on {earlier.time:%Y-%m-%d}")
        return earlier

    def _refuse_clear(self, payload: Mapping[str, Any], history: History) -> None:
        for text in _texts(files.plain(payload)):
            if len(text) >= TELLING and (
                self.salt.digest("id", text) in history.requested or self.salt.digest("subject", text) in history.people
            ):
                raise UserError(f"ledger: {text!r} is the id or subject of a request; write its digest in its place")


def _open(
    line: Appender, salt_file: Path, payload: Mapping[str, Any], time: datetime.datetime, secret: bytes | None
) -> None:
    try:
        salt = Salt.make(salt_file, secret)
        line.append("opened", {**payload, "salt": salt.fingerprint}, time, promise=True)
    except BaseException:
        salt_file.unlink(missing_ok=True)
        raise


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON-ready value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(part)


def _check_request(name: str | None, selector: Selector, rows: Sequence[str]) -> None:
    if not rows:
        raise UserError("ledger: a request without rows")
    if name is None:  # a random one tells nothing, whatever digits are in it
        return
    if not name or len(name) > 200 or not name.isprintable():
        raise UserError(f"--request_id={name[:80]!r}: expected one line of 1 to 200 characters")
    private = [*rows, *([selector.subject] if selector.subject else [])]
    if any(text == name or (len(text) >= TELLING and text in name) for text in private):
        raise UserError(f"--request_id={name}: holds an id or subject that is to be forgotten; choose another")
