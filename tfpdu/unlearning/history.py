"""What the lines of a ledger say happened: requests, rounds, and what is deleted as of now."""

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from tfpdu.unlearning.chain import Entry


@dataclasses.dataclass(frozen=True)
class Request:
    """An acknowledged request.

    Attributes:
      seq: the number of its line.
      request_id: its name.
      time, due: UTC.
      digests: of the ids of its rows.
      subject: digest of the person who is meant, or None.
      asked: digest of the wording.
      state: "pending", "running" or "done".
      round: the number of the round that took it, or None.
      done: UTC, when that round ended, or None.
      erased: its clear ids are gone.
    """

    seq: int
    request_id: str
    time: datetime.datetime
    due: datetime.datetime
    digests: frozenset[str]
    subject: str | None
    asked: str
    state: str = "pending"
    round: int | None = None
    done: datetime.datetime | None = None
    erased: bool = False

    def overdue(self, now: datetime.datetime) -> bool:
        """Whether it is not done and should be, at an aware time."""
        return self.done is None and now > self.due


@dataclasses.dataclass(frozen=True)
class Round:
    """A deletion round.

    Attributes:
      number: from 1.
      requests: the ids of the requests that it took at its start.
      started: UTC.
      digests: of the ids of all rows that it deletes.
      finished: UTC, or None.
      result: what was handed in at its end.
      erased: the clear ids of its requests are gone.
    """

    number: int
    requests: tuple[str, ...]
    started: datetime.datetime
    digests: frozenset[str]
    finished: datetime.datetime | None = None
    result: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    erased: bool = False


@dataclasses.dataclass(frozen=True)
class History:
    """The state that the lines add up to.

    Attributes:
      requests: {request id: request}, first come first.
      rounds: {number: round}, in order.
    """

    requests: dict[str, Request]
    rounds: dict[int, Round]

    @classmethod
    def of(cls, entries: Sequence[Entry], days: int) -> "History":
        """Reads checked lines.

        Args:
          entries: in order.
          days: from a request to the day when it is due.
        """
        history = cls({}, {})
        for entry in entries:
            if entry.kind == "request":
                history._asked(entry, days)
            elif entry.kind == "round started":
                history._started(entry)
            elif entry.kind == "round done":
                changes = {"finished": entry.time, "result": entry.payload["result"]}
                history._changed(entry.payload["round"], changes, {"state": "done", "done": entry.time})
            elif entry.kind == "erased":
                history._changed(entry.payload["round"], {"erased": True}, {"erased": True})
        return history

    @property
    def unfinished(self) -> Round | None:
        """The round that was started and has not ended."""
        return next((r for r in self.rounds.values() if r.finished is None), None)

    @functools.cached_property
    def deleted(self) -> frozenset[str]:
        """Digests of the ids of all rows that finished rounds have deleted."""
        return frozenset().union(*(r.digests for r in self.rounds.values() if r.finished is not None))

    @functools.cached_property
    def requested(self) -> frozenset[str]:
        """Digests of the ids of all rows that any request names."""
        return frozenset().union(*(r.digests for r in self.requests.values()))

    @functools.cached_property
    def people(self) -> frozenset[str]:
        """Digests of the subjects that requests name."""
        return frozenset(r.subject for r in self.requests.values() if r.subject is not None)

    def _asked(self, entry: Entry, days: int) -> None:
        name = str(entry.request_id)
        payload = entry.payload
        self.requests[name] = Request(
            seq=entry.seq,
            request_id=name,
            time=entry.time,
            due=entry.time + datetime.timedelta(days=days),
            digests=frozenset(payload["rows"]),
            subject=payload["subject"],
            asked=payload["asked"],
        )

    def _started(self, entry: Entry) -> None:
        number, names = entry.payload["round"], tuple(entry.payload["requests"])
        digests = frozenset().union(*(self.requests[name].digests for name in names))
        self.rounds[number] = Round(number, names, entry.time, digests)
        self._changed(number, {}, {"state": "running", "round": number})

    def _changed(self, number: int, of_round: Mapping[str, Any], of_requests: Mapping[str, Any]) -> None:
        self.rounds[number] = dataclasses.replace(self.rounds[number], **of_round)
        for name in self.rounds[number].requests:
            self.requests[name] = dataclasses.replace(self.requests[name], **of_requests)
