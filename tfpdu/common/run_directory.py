"""The run directory: the unit of truth. A run that finds one resumes it."""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tfpdu.common import files
from tfpdu.common.errors import Busy, UserError


def made(directory: str | os.PathLike[str], flag: str) -> Path:
    """Makes a directory that the user named with a flag, unless it exists; raises `UserError` where that fails."""
    path = Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{flag}={directory}: is a file, expected a directory") from None
    except PermissionError:
        raise UserError(f"{flag}={directory}: may not be written") from None
    return path


@contextlib.contextmanager
def held(directory: Path, flag: str) -> Iterator[None]:
    """Holds a directory for this process and clears what a killed one left half-written.

    Args:
      directory: exists.
      flag: how the user named it, for the message.

    Raises:
      Busy: another process holds it.
    """
    with open(directory / ".lock", "a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "another process"
            raise Busy(f"{flag}={directory}: in use by {owner}") from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} ({Path(sys.argv[0]).name})")
        handle.flush()
        _clear(directory)
        yield


def _clear(directory: Path) -> None:
    """Removes files that a killed process was writing, but for those below that are held by themselves."""
    for place, below, names in os.walk(directory):
        below[:] = [name for name in below if not Path(place, name, ".lock").exists()]
        for name in names:
            if name.startswith(files.TEMPORARY):
                Path(place, name).unlink()


class RunDirectory:
    """A directory that belongs to one configuration.

    Args:
      path: the directory; made if missing.
      config: the whole configuration, JSON-ready and nested. It is written at creation.
      free: keys such as "config.ensemble.executor" that change no result, and may differ when a run is resumed.

    Raises:
      UserError: the directory holds a run of another configuration (the first difference is
        named), or is no directory, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping[str, Any], free: Collection[str] = ()):
        self.path = made(path, "--workdir")
        self._refuse_other(config, free)
        if not self.file("config.json").exists():
            # A process that was killed before there was a config.json may have left half of one.
            if any(p for p in self.path.iterdir() if p.name != ".lock" and not p.name.startswith(files.TEMPORARY)):
                raise UserError(f"--workdir={path}: holds other files and no config.json; name an empty directory")
            files.write_json(self.file("config.json"), config)

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> "RunDirectory":
        """The directory of a run that was begun, with the configuration that it was begun with.

        Raises:
          UserError: there is none.
        """
        if not str(path) or not Path(path, "config.json").is_file():
            raise UserError(f"--workdir={path}: expected the directory of a run, which holds a config.json")
        return cls(path, files.read_json(Path(path, "config.json")))

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the run was begun with."""
        return dict(files.read_json(self.file("config.json")))

    def file(self, *parts: str) -> Path:
        """The path of a file in the directory."""
        return self.path.joinpath(*parts)

    def _refuse_other(self, config: Mapping[str, Any], free: Collection[str]) -> None:
        if not self.file("config.json").exists():
            return
        different = difference(files.read_json(self.file("config.json")), config, free)
        if different:
            raise UserError(
                f"--workdir={self.path}: {different}; use the same configuration to resume, or another directory"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for this process; a second run in it is refused, naming the first."""
        with held(self.path, "--workdir"):
            yield

    def record(self, event: Mapping[str, Any]) -> None:
        """Appends an event to `metrics.jsonl` unless one with its `event`, `iteration` and `round` is there."""
        if self.event(event["event"], event.get("iteration"), event.get("round")) is None:
            files.append_json_line(self.file("metrics.jsonl"), dict(event))

    def events(self, name: str) -> list[dict[str, Any]]:
        """All events of a kind, in order."""
        return [e for e in files.read_json_lines(self.file("metrics.jsonl")) if e.get("event") == name]

    def event(self, name: str, iteration: int | None = None, round: int | None = None) -> dict[str, Any] | None:
        """The event of a kind (of an iteration, of a deletion round), or None."""
        found = self.events(name)
        return next((e for e in found if e.get("iteration") == iteration and e.get("round") == round), None)

    def drop_after(self, iteration: int) -> None:
        """Removes the events of iterations after this one, none of which is done."""
        path = self.file("metrics.jsonl")
        events = files.read_json_lines(path)
        kept = [e for e in events if e.get("iteration") is None or e["iteration"] <= iteration]
        if len(kept) < len(events):
            files.write_text(path, "".join(json.dumps(e) + "\n" for e in kept))

    def replace_rows(self, name: str, rows: list[dict[str, Any]], **key: Any) -> None:
        """Rewrites a JSON list file with all rows that match `key` replaced by the new ones."""
        path = self.file(name)
        old = files.read_json(path) if path.exists() else []
        kept = [row for row in old if any(row.get(k) != v for k, v in key.items())]
        if kept + rows != old or not path.exists():
            files.write_json(path, kept + rows)


def difference(then: Any, now: Any, free: Collection[str] = (), name: str = "config") -> str:
    """The first key in which two settings differ, in words with both values, or ""; `free` ones may differ.

    >>> difference({"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 4}}, free=["config.a"])
    'made with config.b.c=2, now config.b.c=4'
    """
    old, new = _flat(_as_json(then), name), _flat(_as_json(now), name)
    for key in sorted((old.keys() | new.keys()) - set(free)):
        if old.get(key) != new.get(key):
            return f"made with {key}={old.get(key)!r}, now {key}={new.get(key)!r}"
    return ""


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value


def _flat(tree: Any, prefix: str = "config") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    return {path: leaf for key, item in tree.items() for path, leaf in _flat(item, f"{prefix}.{key}").items()}
