"""What a run directory says: every file that a report reads, each of which may not be there yet."""

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.files import read_json, read_json_lines, read_npz

FILES = (
    "config.json",
    "manifest.json",
    "bias.json",
    "metrics.jsonl",
    "audit.json",
    "fairness.json",
    "table1.csv",
    "samples/showcase.npz",
)

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RunData:
    """The parsed files of a run directory; a missing or unreadable one is empty.

    Attributes:
      workdir: the run directory.
      config: config.json as nested dicts.
      manifest: manifest.json: versions, machine, seed, data hash, pool sizes.
      bias: bias.json, in nats and counts.
      events: the objects of metrics.jsonl in order of time.
      audit: the rows of audit.json; success rates in [0, 1].
      fairness: the rows of fairness.json; values in [0, 1].
      table1: the rows of table1.csv as text.
      showcase: originals and synthetic uint8[C,k,h,w,c], label_names str[C].
      missing: names of the files that are not there.
      unreadable: one line for each file that is there but cannot be read.
    """

    workdir: Path
    config: Row
    manifest: Row
    bias: Row
    events: list[Row]
    audit: list[Row]
    fairness: list[Row]
    table1: list[dict[str, str]]
    showcase: dict[str, np.ndarray]
    missing: tuple[str, ...]
    unreadable: tuple[str, ...]

    def named(self, event: str) -> list[Row]:
        """All events of one name, in order of time."""
        return [row for row in self.events if row.get("event") == event]

    def by_step(self, event: str) -> list[Row]:
        """The events of one name, one for each iteration and deletion round; a repeated one counts as last written."""
        return list({(row.get("iteration"), row.get("round")): row for row in self.named(event)}.values())

    def last(self, event: str) -> Row:
        """The latest event of one name; empty if there is none."""
        rows = self.named(event)
        return rows[-1] if rows else {}

    def iterations(self) -> list[Row]:
        """The `iteration` events, one per iteration and in order; a repeated one counts as last written."""
        return latest_iterations(self.events)

    def setting(self, *paths: str) -> Any:
        """The first of these dotted paths that config.json has, e.g. 'generator.lineage'; None if none."""
        for path in paths:
            value: Any = self.config
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                return value
        return None

    @property
    def has_generator(self) -> bool:
        """Whether the added rows come from a generator, rather than from a plain alternative such as oversampling."""
        return self.setting("augment.method") in (None, "diffusion")

    @property
    def lineage(self) -> str | None:
        """keep, public or strict: what the generator was trained on, and a deletion does to it; None without one."""
        if not self.has_generator:
            return None
        return self.setting("generator.lineage") or self.last("generator").get("lineage")


def latest_iterations(events: list[Row]) -> list[Row]:
    """The `iteration` events in order of iteration; of several for one iteration the last counts."""
    rows = {int(row["iteration"]): row for row in events if row.get("event") == "iteration" and "iteration" in row}
    return [rows[key] for key in sorted(rows)]


def read_run(workdir: str | Path) -> RunData:
    """Reads a run directory.

    Args:
      workdir: the directory that `--workdir` named.

    Returns:
      The parsed files. What is missing or damaged is empty and named in `missing` and `unreadable`.

    Raises:
      UserError: the directory does not exist, or holds none of the files of a run.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir}: no such directory")
    missing = tuple(name for name in FILES if not (workdir / name).exists())
    if len(missing) == len(FILES):
        raise UserError(f"--workdir={workdir}: not a run directory, it holds none of {', '.join(FILES)}")
    unreadable: list[str] = []

    def read(name: str, reader: Callable[[Path], Any], empty: Any) -> Any:
        if name in missing:
            return empty
        try:
            return reader(workdir / name)
        except (UserError, ValueError, OSError, KeyError) as error:
            unreadable.append(f"{name}: {str(error).removeprefix(f'{workdir / name}: ')}")
            return empty

    return RunData(
        workdir=workdir,
        config=read("config.json", _json_object, {}),
        manifest=read("manifest.json", _json_object, {}),
        bias=read("bias.json", _json_object, {}),
        events=read("metrics.jsonl", _events, []),
        audit=read("audit.json", _json_rows, []),
        fairness=read("fairness.json", _json_rows, []),
        table1=read("table1.csv", _csv_rows, []),
        showcase=read("samples/showcase.npz", _showcase, {}),
        missing=missing,
        unreadable=tuple(unreadable),
    )


def _json_object(path: Path) -> Row:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("expected a JSON object")
    return value


def _json_rows(path: Path) -> list[Row]:
    value = read_json(path)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UserError("expected a JSON list of objects")
    return value


def _events(path: Path) -> list[Row]:
    try:
        rows = read_json_lines(path)
    except json.JSONDecodeError as error:
        raise UserError(f"a line is not valid JSON ({error})") from None
    if not all(isinstance(row, dict) for row in rows):
        raise UserError("expected one JSON object per line")
    return rows


def _csv_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and "iteration" not in rows[0]:
        raise UserError("expected a column 'iteration'")
    return rows


def _showcase(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path)
    for name in ("originals", "synthetic"):
        if name in arrays and (arrays[name].dtype != np.uint8 or arrays[name].ndim != 5):
            raise UserError(f"{name} must be uint8[C,k,h,w,c], got {arrays[name].dtype}{list(arrays[name].shape)}")
    if "label_names" not in arrays:
        raise UserError("expected an array 'label_names'")
    for name in ("originals", "synthetic"):
        if name in arrays and len(arrays[name]) != len(arrays["label_names"]):
            raise UserError(f"{name} has {len(arrays[name])} classes, label_names {len(arrays['label_names'])}")
    return arrays
