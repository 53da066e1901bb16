"""The versions of a model in a directory that servers read, and the journal that says how far each has come.

    <base>/models.config  batching.config  monitoring.config   for the servers
    <base>/<model>/versions.json                               the journal; written before what follows from it is done
    <base>/<model>/<number>/                                   a version, see `tfpdu.serving.export`

A version is *exporting*, *exported*, *blessed* (a fresh process gave the golden answers), *published* (servers are
told to load it), *retired* (no longer told to, and free to come back), *unlisted* (taken off for good, with a reason)
and *withdrawn* (every named server said that it is gone). Numbers are never used twice.
"""

import contextlib
import dataclasses
import datetime
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpdu.common import UserError, files
from tfpdu.common.run_directory import held, made
from tfpdu.common.validation import one_of
from tfpdu.serving.configuration import ServedModel, batching_config, models_config, monitoring_config
from tfpdu.serving.export import UNFINISHED, damage, lineage

STATES = ("exporting", "exported", "blessed", "published", "retired", "unlisted", "withdrawn")
LABELS = ("stable", "canary")
GONE = ("unlisted", "withdrawn")
JOURNAL = "versions.json"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


@dataclasses.dataclass(frozen=True)
class Version:
    """A version in the journal.

    Attributes:
      number: from 1.
      state: one of `STATES`.
      identity: see `Release.identity`.
      times: when it came to each state, UTC.
      reason: why it was taken off, or "".
      confirmed: the servers that said it is gone.
      erased: its files were removed.
    """

    number: int
    state: str
    identity: str
    times: Mapping[str, str]
    reason: str = ""
    confirmed: tuple[str, ...] = ()
    erased: bool = False


@dataclasses.dataclass(frozen=True)
class Journal:
    """The journal of a model.

    Attributes:
      served_from: the directory of its versions, as the servers see it.
      salt: the fingerprint of the ledger whose rows its versions learned; all are of one run.
      workdir: that run's directory, as it was named last.
      versions: by number.
      labels: {label: number}.
    """

    served_from: str
    salt: str = ""
    workdir: str = ""
    versions: Mapping[int, Version] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def listed(self) -> list[int]:
        """The versions that servers are told to load."""
        return [number for number, version in self.versions.items() if version.state == "published"]

    def newest(self, identity: str) -> Version | None:
        """The newest version of an identity that was not taken off."""
        found = [v for v in self.versions.values() if v.identity == identity and v.state not in GONE]
        return found[-1] if found else None

    def version(self, number: int) -> Version:
        """A version; raises `UserError` where there is none of the number."""
        if number not in self.versions:
            known = ", ".join(map(str, self.versions)) or "none"
            raise UserError(f"--version={number}: no such version; there are: {known}")
        return self.versions[number]


class Repository:
    """One model's versions below a directory of models.

    Args:
      base: the directory of models; made if missing.
      name: of the model.
      served_from: `base` as the servers see it, such as /models in a container; by default as it was last, or `base`
        itself.

    Raises:
      UserError: the name is no name for a model, or `base` cannot be made.
    """

    def __init__(self, base: str | Path, name: str, served_from: str = ""):
        if not _NAME.fullmatch(name):
            raise UserError(f"--name={name}: expected a letter, then letters, digits, dots, dashes or underscores")
        self.base, self.name = made(base, "--models").resolve(), name
        self._served_from = f"{served_from.rstrip('/')}/{name}" if served_from else ""

    @classmethod
    def existing(cls, base: str | Path, name: str) -> "Repository":
        """The versions of a model that has some.

        Raises:
          UserError: there are none.
        """
        if not str(base) or not Path(base, name, JOURNAL).is_file():
            known = ", ".join(sorted(p.parent.name for p in Path(base).glob(f"*/{JOURNAL}"))) if str(base) else ""
            raise UserError(f"--models={base}: holds no model {name!r}; there are: {known or 'none'}")
        return cls(base, name)

    @property
    def directory(self) -> Path:
        """Of the model's versions."""
        return self.base / self.name

    def path(self, number: int) -> Path:
        """The directory of a version."""
        return self.directory / str(number)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the directory of models for this process, and clears what a killed one left half-written."""
        with held(self.base, "--models"):
            for leftover in self.base.glob(f"*/{UNFINISHED}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            yield

    # ---- the journal ---------------------------------------------------------------------------

    def journal(self) -> Journal:
        """The journal as it is now; raises `UserError` where it is broken."""
        path = self.directory / JOURNAL
        if not path.exists():
            return Journal(self._served_from or str(self.directory))
        text = files.read_json(path)
        try:
            versions = {int(number): _version(int(number), entry) for number, entry in text["versions"].items()}
            served_from = self._served_from or text["served_from"]
            return Journal(served_from, text["salt"], text["workdir"], versions, dict(text["labels"]))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{path}: is no journal of versions") from None

    def begin(self, identity: str, salt: str, workdir: str) -> Version:
        """The version of this identity, or a new one with the next number, exporting.

        Raises:
          UserError: the model's versions are another run's.
        """
        journal = self.journal()
        if journal.salt not in ("", salt):
            raise UserError(
                f"--name={self.name}: its versions are of another run ({journal.workdir}); choose another name"
            )
        there = journal.newest(identity)
        if there is None:
            numbers = [*journal.versions, *self.numbers(), 0]
            there = Version(max(numbers) + 1, "exporting", identity, {"exporting": _now()})
        self._write(dataclasses.replace(journal, salt=salt, workdir=workdir), there)
        return there

    def mark(self, number: int, state: str, **changes: Any) -> Version:
        """Writes down that a version has come to a state; a state that it is in already keeps its time."""
        one_of(STATES, state=state)
        journal = self.journal()
        version = journal.version(number)
        times = version.times if version.state == state else {**version.times, state: _now()}
        version = dataclasses.replace(version, state=state, times=times, **changes)
        self._write(journal, version)
        return version

    def label(self, labels: Mapping[str, int]) -> None:
        """Writes down which versions the labels mean, all in one go."""
        journal = self.journal()
        for label, number in labels.items():
            one_of(LABELS, label=label)
            if journal.version(number).state != "published":
                raise UserError(f"label {label}: version {number} is not published")
        self._write(dataclasses.replace(journal, labels={**journal.labels, **labels}))

    def unlabel(self, number: int) -> None:
        """Takes all labels off a version."""
        journal = self.journal()
        labels = {label: meant for label, meant in journal.labels.items() if meant != number}
        self._write(dataclasses.replace(journal, labels=labels))

    def _write(self, journal: Journal, *changed: Version) -> None:
        versions = {**journal.versions, **{version.number: version for version in changed}}
        entries = {str(number): dataclasses.asdict(versions[number]) for number in sorted(versions)}
        for entry in entries.values():
            del entry["number"]
        whole = {"model": self.name, **dataclasses.asdict(dataclasses.replace(journal, versions={}))}
        files.write_json(self.directory / JOURNAL, {**whole, "versions": entries})

    # ---- what servers read ---------------------------------------------------------------------

    def write_configuration(self) -> Path:
        """Writes models.config for all models of the directory; the other two files only where they are missing.

        Returns:
          The path of models.config.
        """
        models = []
        for path in sorted(self.base.glob(f"*/{JOURNAL}")):
            other = self if path.parent == self.directory else Repository(self.base, path.parent.name)
            journal = other.journal()
            if listed := journal.listed():
                labels = {label: number for label, number in journal.labels.items() if number in listed}
                models.append(ServedModel(other.name, journal.served_from, listed, labels))
        path, text = self.base / "models.config", models_config(models)
        if not path.exists() or path.read_text() != text:
            files.write_text(path, text)
        for name, write in (("batching.config", batching_config), ("monitoring.config", monitoring_config)):
            if not (self.base / name).exists():
                files.write_text(self.base / name, write())
        return path

    def numbers(self) -> list[int]:
        """The numbers of all directories that a server would take for versions, in the journal or not."""
        found = (p.name for p in self.directory.glob("*") if p.is_dir() and re.fullmatch(r"[0-9]+", p.name))
        return sorted(map(int, found))

    # ---- deleted rows --------------------------------------------------------------------------

    def saw(self, number: int, deleted: frozenset[str]) -> int:
        """How many deleted rows a version learned, by their digests; -1 where its lineage cannot be read."""
        try:
            return len(deleted.intersection(lineage(self.path(number))["rows"]))
        except (UserError, KeyError):
            return -1

    def tainted(self, deleted: frozenset[str]) -> dict[int, int]:
        """{number: deleted rows that it saw, or -1 where nobody knows}, of all versions whose files are there.

        A copy under another number has the lineage of what it is a copy of; one that is being exported has none yet.
        """
        versions = self.journal().versions
        half = {number for number, version in versions.items() if version.state == "exporting"}
        seen = {number: self.saw(number, deleted) for number in self.numbers() if number not in half}
        return {number: count for number, count in seen.items() if count}

    def erase(self, number: int) -> None:
        """Removes the files of a version; no server ever sees half of them."""
        path = self.path(number)
        if path.exists():
            away = path.with_name(f"{UNFINISHED}gone-{number}")
            shutil.rmtree(away, ignore_errors=True)
            path.rename(away)
            shutil.rmtree(away)
            files.sync_directory(self.directory)

    def damage(self, number: int) -> str | None:
        """What is wrong with a version's files, or None."""
        return damage(self.path(number))


def _version(number: int, entry: Mapping[str, Any]) -> Version:
    version = Version(**{**entry, "number": number, "confirmed": tuple(entry["confirmed"])})
    if version.state not in STATES:
        raise ValueError
    return version


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
