"""From weights to the version that answers, and off again: in steps that a kill may come between at any time.

    export       written beside and renamed                                     exporting -> exported
    trial        a fresh process gives the golden answers                       exported  -> blessed
    first push   models.config names the new version; every server loads it     blessed   -> published
    second push  the labels move; every server says so
    third push   what has no label is no longer named                           published -> retired
                 what saw a deleted row is taken off for good                   ...       -> unlisted
    asking       every named server says that those are gone                    unlisted  -> withdrawn

Each step is in the journal before anything follows from it, and does nothing where it is done already: the same call
goes on from wherever a killed one was, and until the second push the servers answer as before.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfpdu.common import UserError, say
from tfpdu.common.interrupt import safe_point
from tfpdu.serving.client import Client
from tfpdu.serving.export import export, lineage
from tfpdu.serving.release import Release
from tfpdu.serving.trial import Trial, try_out
from tfpdu.serving.versions import GONE, Repository, Version


@dataclasses.dataclass(frozen=True)
class Deletions:
    """What the ledger of a run says is deleted.

    Attributes:
      salt: the fingerprint of its secret.
      digests: of the ids of all rows that finished rounds deleted.
    """

    salt: str
    digests: frozenset[str]


@dataclasses.dataclass(frozen=True)
class PublishSettings:
    """How versions come to servers.

    Attributes:
      patience: seconds that servers get for each push.
      every: seconds between two questions to a server.
      reload: hand models.config over by gRPC; else the servers read it themselves
        (--model_config_file_poll_wait_seconds).
      atomic: the storage renames directories at once, see `export`.
      erase: remove the files of withdrawn versions that saw deleted rows (deletion.mode "service").
      offline: no server reads the directory, so what is taken off the configuration is gone.
    """

    patience: float = 300.0
    every: float = 1.0
    reload: bool = False
    atomic: bool = True
    erase: bool = False
    offline: bool = False


class Publisher:
    """Moves versions of one model; the caller holds the repository.

    Args:
      repository: of the model.
      deletions: of the run that its versions are of.
      servers: all that serve the model; "withdrawn" is said when every one of them agrees, and never without any.
      settings: see there.
      trial: tries a version before it is blessed.
      note: is told what was done, a line each.

    Every method raises `UserError` where something is refused or a server does not follow in time; the same call then
    goes on from there. `StopRequested` likewise.
    """

    def __init__(
        self,
        repository: Repository,
        deletions: Deletions,
        servers: Sequence[Client] = (),
        settings: PublishSettings | None = None,
        trial: Trial = try_out,
        note: Callable[[str], None] = say,
    ):
        self._repository, self._deletions, self._servers = repository, deletions, tuple(servers)
        self._settings, self._trial, self._note = settings or PublishSettings(), trial, note
        check_servers(self._servers, self._settings)

    # ---- what a user asks for ------------------------------------------------------------------

    def export(self, release: Release, workdir: str = "") -> Version:
        """Writes the release as a version, unless a version of its identity is there; publishes nothing."""
        if release.lineage["salt"] != self._deletions.salt:
            raise UserError("serving: the release is of another run than the ledger")
        seen = self._deletions.digests.intersection(release.lineage["rows"])
        if seen:
            raise UserError(f"serving: these weights learned {len(seen)} deleted rows; carry out the deletion first")
        version = self._repository.begin(release.identity, release.lineage["salt"], workdir)
        if version.state != "exporting":
            self._whole(version.number)
            return version
        path = self._repository.path(version.number)
        if self._repository.damage(version.number) is not None:
            shutil.rmtree(path, ignore_errors=True)  # half of it, from a process that was killed
            export(release, path, self._repository.name, self._settings.atomic)
        self._note(f"version {version.number}: exported to {path}")
        return self._repository.mark(version.number, "exported")

    def publish(self, release: Release, label: str = "stable", workdir: str = "") -> Version:
        """Brings the release to the servers under a label, and takes off what saw deleted rows.

        Args:
          release: of weights that learned no deleted row.
          label: "stable" or "canary"; the first version gets both jobs' label "stable" in any case.
          workdir: of the run, for the journal.
        """
        version = self.export(release, workdir)
        safe_point()
        self._bless(version)
        safe_point()
        if "stable" not in self._repository.journal().labels:
            label = "stable"
        self._move(version.number, label)
        return self._repository.journal().version(version.number)

    def promote(self) -> int:
        """Makes the canary the stable version; returns its number."""
        number = self._repository.journal().labels.get("canary")
        if number is None:
            raise UserError(f"promote: no version of {self._repository.name} is the canary")
        self._move(number, "stable")
        return number

    def rollback(self, number: int | None = None) -> int:
        """Makes an earlier version the stable one again; returns its number.

        Args:
          number: which; by default the newest before the stable one that saw no deleted row.

        Raises:
          UserError: it saw a deleted row, was taken off, or nobody tried it.
        """
        if number is None:
            number = self._earlier()
        self._move(number, "stable")
        return number

    def withdraw(self, number: int, reason: str) -> None:
        """Takes a version off for good; one that is stable only after another has taken its place."""
        journal = self._repository.journal()
        if journal.labels.get("stable") == number:
            raise UserError(f"--version={number}: is stable; promote, roll back or publish another first")
        if number in journal.labels.values():
            self._repository.unlabel(number)
        if journal.version(number).state not in GONE:
            self._repository.mark(number, "unlisted", reason=reason)
        self.settle()

    def settle(self) -> None:
        """The third push: names no version without a label, takes off what saw deleted rows, asks the servers."""
        journal, tainted = self._repository.journal(), self._tainted()
        labelled = {number: label for label, number in journal.labels.items()}
        for number, version in journal.versions.items():
            if number in tainted and number in labelled:
                self._note(
                    f"version {number}: {_why(tainted[number])}, and answers as {labelled[number]} until another does"
                )
            elif number in tainted and version.state not in GONE:
                self._repository.mark(number, "unlisted", reason=_why(tainted[number]))
            elif version.state == "published" and number not in labelled:
                self._repository.mark(number, "retired")
        self._push()
        self._confirm()
        if self._settings.erase:
            self._erase()

    # ---- steps ---------------------------------------------------------------------------------

    def _bless(self, version: Version) -> None:
        if version.state == "exported":
            found = self._trial(self._repository.path(version.number))
            self._repository.mark(version.number, "blessed")
            worst = max(found["differences"].values())
            self._note(f"version {version.number}: a fresh process gives the golden answers (to {worst:.1g})")

    def _move(self, number: int, label: str) -> None:
        """First and second push, and the third."""
        self._refuse(number)
        version = self._repository.journal().version(number)
        if version.state != "published":
            self._repository.mark(number, "published")
        self._push()
        self._await(f"load version {number}", _available, number)
        safe_point()
        labels = {label: number}
        if label == "stable":  # no label stays on what saw deleted rows
            tainted = self._tainted()
            labels |= {other: number for other, at in self._repository.journal().labels.items() if at in tainted}
        self._repository.label(labels)
        self._push()
        for name, at in labels.items():
            self._await(f"move label {name} to version {at}", _labelled, name, at)
        told = f"every named server says so ({len(self._servers)})" if self._servers else "no server was asked"
        self._note(f"version {number}: published as {' and '.join(sorted(labels))}; {told}")
        safe_point()
        self.settle()

    def _push(self) -> None:
        path = self._repository.write_configuration()
        if self._settings.reload:
            for client in self._servers:
                if client.server.startswith("grpc://"):
                    client.reload(path.read_text())

    def _await(self, words: str, done: Callable[..., str], *arguments: Any) -> None:
        """Waits until `done` says "" of every server; else it says what is in the way."""
        end = time.monotonic() + self._settings.patience
        for client in self._servers:
            while (missing := _said(done, client, *arguments)) and time.monotonic() < end:
                safe_point()
                time.sleep(self._settings.every)
            if missing:
                raise UserError(
                    f"--server={client.server}: did not {words} of {self._repository.name} in"
                    f" {self._settings.patience:g} s ({missing}); the same command goes on from there"
                )

    def _confirm(self) -> None:
        """Asks every server about all that was taken off; only their word makes it withdrawn."""
        gone = [version for version in self._repository.journal().versions.values() if version.state in GONE]
        names = tuple(client.server for client in self._servers)
        for version in gone:
            number, reason = version.number, version.reason
            self._await(f"unload version {number}", _unloaded, number)
            if self._servers:
                if version.state == "unlisted":
                    self._repository.mark(number, "withdrawn", confirmed=names)
                    every = f"every named server says that it is gone ({len(names)})"
                    self._note(f"version {number}: withdrawn ({reason}); {every}")
            elif self._settings.offline and version.state == "unlisted":
                self._repository.mark(number, "withdrawn")
                self._note(f"version {number}: withdrawn ({reason}); no server reads the directory, by --offline")
            elif version.state == "unlisted":
                self._note(
                    f"version {number}: withdrawn from the configuration ({reason}); no server was asked, so one may"
                    " still answer with it: name them with --server"
                )

    def _erase(self) -> None:
        """Removes what saw deleted rows, once it answers nowhere; copies under other numbers too."""
        versions = self._repository.journal().versions
        for number, seen in self._tainted().items():
            known = versions.get(number)
            if known.state == "withdrawn" if known else seen > 0:  # a copy by hand is nobody's version
                self._repository.erase(number)
        for number, version in versions.items():
            if version.state == "withdrawn" and not version.erased and not self._repository.path(number).exists():
                self._repository.mark(number, "withdrawn", erased=True)
                self._note(f"version {number}: erased")

    # ---- what is refused -----------------------------------------------------------------------

    def _tainted(self) -> Mapping[int, int]:
        return self._repository.tainted(self._deletions.digests)

    def _whole(self, number: int) -> None:
        if damaged := self._repository.damage(number):
            raise UserError(f"{damaged} since it was exported; withdraw version {number} and publish again")

    def _refuse(self, number: int) -> None:
        version = self._repository.journal().version(number)
        if version.state in GONE:
            raise UserError(f"version {number}: was taken off for good ({version.reason})")
        if version.state in ("exporting", "exported"):
            raise UserError(f"version {number}: is {version.state}, and was not tried yet; publish it")
        self._whole(number)
        if lineage(self._repository.path(number)).get("salt") != self._deletions.salt:
            raise UserError(f"version {number}: is of another run than the ledger; name its run with --workdir")
        seen = self._repository.saw(number, self._deletions.digests)
        if seen:
            raise UserError(f"version {number}: {_why(seen)}; it may not answer again")

    def _earlier(self) -> int:
        journal, tainted = self._repository.journal(), self._tainted()
        stable = journal.labels.get("stable", 0)
        able = [
            number
            for number, version in journal.versions.items()
            if number < stable and version.state in ("published", "retired") and number not in tainted
        ]
        if not able:
            raise UserError(f"rollback: no version before {stable} may answer again: they saw deleted rows or are gone")
        return max(able)


def check_servers(servers: Sequence[Client], settings: PublishSettings) -> None:
    """Raises `UserError` where the servers do not go with the settings."""
    if settings.offline and servers:
        raise UserError("--offline: no server reads the directory, and yet --server names one")
    if settings.reload and not any(client.server.startswith("grpc://") for client in servers):
        raise UserError("--reload: goes by gRPC; expected a --server=grpc://host:8500")


def _why(seen: int) -> str:
    return f"it learned {seen} rows that were deleted" if seen > 0 else "its lineage cannot be read"


def _said(done: Callable[..., str], client: Client, *arguments: Any) -> str:
    """What `done` says; a server that cannot be asked now may answer later."""
    try:
        return done(client, *arguments)
    except UserError as error:
        return str(error)


def _available(client: Client, number: int) -> str:
    found = client.status().get(number)
    if found is None:
        return f"it knows no version {number}"
    return "" if found.state == "AVAILABLE" else f"it is {found.state} {found.error}".rstrip()


def _labelled(client: Client, label: str, number: int) -> str:
    at = client.labelled(label)
    return "" if at == number else f"the label is on {at or 'none'}"


def _unloaded(client: Client, number: int) -> str:
    found = client.status().get(number)
    return "" if found is None or found.state == "END" else f"it is {found.state}"
