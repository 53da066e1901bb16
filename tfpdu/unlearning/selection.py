"""What a deletion request asks for, as its sender words it, and the rows that this means in a table."""

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.validation import did_you_mean
from tfpdu.data.records import Records
from tfpdu.unlearning.condition import rows_where


@dataclasses.dataclass(frozen=True)
class Selector:
    """The wording of a request: exactly one of ids, a subject, a condition.

    Two selectors are equal if they ask for the same in the same way; ids are a set, in whatever order and file.

    Attributes:
      ids: of rows; kept sorted, each once.
      subject: all rows of this person.
      where: all rows for which this condition holds, see `rows_where`.
      source: the flag or file that the ids come from, for messages.
      lines: the line of each id in that file.
    """

    ids: tuple[str, ...] = ()
    subject: str | None = None
    where: str | None = None
    source: str = dataclasses.field(default="--ids", compare=False)
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(sorted({str(row_id) for row_id in self.ids})))
        if sum([bool(self.ids), bool(self.subject), bool(self.where)]) != 1:
            raise UserError("--ids, --ids_file, --subject, --where: expected exactly one of them")

    @classmethod
    def of(
        cls,
        ids: Sequence[str] = (),
        ids_file: str | os.PathLike[str] | None = None,
        subject: str | None = None,
        where: str | None = None,
    ) -> "Selector":
        """The selector of what a command line says; `ids_file` is UTF-8 text with one id a line, blank ones skipped.

        Raises:
          UserError: not exactly one is given, or the file cannot be read or is empty.
        """
        if not ids_file:
            return cls(tuple(ids), subject or None, where or None)
        if ids or subject or where:
            raise UserError("--ids, --ids_file, --subject, --where: expected exactly one of them")
        try:
            text = Path(ids_file).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UserError(f"--ids_file={ids_file}: cannot be read ({error.strerror})") from None
        except ValueError:
            raise UserError(f"--ids_file={ids_file}: expected UTF-8 text with one id a line") from None
        lines = {line.strip(): number for number, line in reversed([*enumerate(text.split("\n"), 1)]) if line.strip()}
        if not lines:
            raise UserError(f"--ids_file={ids_file}: holds no ids")
        return cls(tuple(lines), source=f"--ids_file={ids_file}", lines=lines)

    def wording(self) -> dict[str, Any]:
        """JSON-ready; equal selectors have equal ones."""
        return {"ids": list(self.ids), "subject": self.subject, "where": self.where}


def select(
    records: Records, selector: Selector, deleted: Callable[[Sequence[str]], Collection[str]] | None = None
) -> tuple[str, ...]:
    """The ids of the rows that a request means, sorted.

    Args:
      records: the table; only its originals can be asked for, a generator's rows are nobody's.
      selector: what is asked for.
      deleted: says which of some ids were deleted earlier (`Ledger.deleted`), for the message.

    Raises:
      UserError: an id or subject that the table does not hold, a condition that cannot be read, or no rows at all.
    """
    originals = records.is_original
    if selector.ids:
        _refuse_unknown(records, selector, deleted)
        return selector.ids
    if selector.subject is not None:
        chosen = _rows_of_subject(records, selector.subject) & originals
        said = f"--subject={selector.subject}"
    else:
        chosen = rows_where(records, selector.where or "") & originals
        said = f"--where={selector.where}"
    if not chosen.any():
        raise UserError(f"{said}: holds for none of the {int(originals.sum())} originals")
    return tuple(sorted(records.ids[chosen].tolist()))


def _rows_of_subject(records: Records, subject: str) -> np.ndarray:
    if records.subjects is None:
        raise UserError(f"--subject={subject}: this data set does not say whose the rows are")
    rows = records.subjects.astype(str) == subject
    if not rows.any():
        near = did_you_mean(subject, np.unique(records.subjects.astype(str))[:10_000].tolist())
        raise UserError(f"--subject={subject}: no row belongs to this subject{near}")
    return rows


def _refuse_unknown(
    records: Records, selector: Selector, deleted: Callable[[Sequence[str]], Collection[str]] | None
) -> None:
    originals = set(records.ids[records.is_original].tolist())
    unknown = [row_id for row_id in selector.ids if row_id not in originals]
    if not unknown:
        return
    first = min(unknown, key=lambda row_id: (selector.lines.get(row_id, 0), row_id))
    place = f"{selector.source}: line {selector.lines[first]}" if first in selector.lines else selector.source
    others = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
    raise UserError(f"{place}: {first!r}{others} {_reason(first, originals, records, deleted)}")


def _reason(
    row_id: str,
    originals: set[str],
    records: Records,
    deleted: Callable[[Sequence[str]], Collection[str]] | None,
) -> str:
    if deleted is not None and deleted([row_id]):
        return "was deleted earlier"
    if row_id in records.ids:
        return "is a synthetic row, expected an original"
    families = sorted({name.rpartition("/")[0] for name in originals})
    if families and row_id.rpartition("/")[0] not in families:
        known = ", ".join(repr(f"{family}/…") if family else repr(min(originals)) for family in families[:3])
        return f"is not an id of this run, whose ids are like {known}"
    return f"is not among the {len(originals)} originals of this run"
