"""Pictures that may not come back: salted hashes of what was deleted, kept in the ledger.

A tombstone is an HMAC of a picture's shape and pixels (`tfpdu.unlearning.salt`). It gives nothing of the picture
away, and knows only the very same pixels again: one that was compressed anew, mirrored or cropped passes. Most of
these are found while the picture is still there, by `tfpdu.unlearning.twins`.
"""

import dataclasses

from tfpdu.data.records import Records
from tfpdu.unlearning.history import Round
from tfpdu.unlearning.ledger import Ledger

KIND = "tombstones"  # of the line


@dataclasses.dataclass(frozen=True)
class Refused:
    """A row that was deleted before.

    Attributes:
      id: the id under which it comes.
      reason: "picture", the same picture was deleted, under whatever id; or "id", the id was.
    """

    id: str
    reason: str


class Tombstones:
    """The tombstones of a run directory.

    Args:
      ledger: where they are kept.
    """

    def __init__(self, ledger: Ledger):
        self._ledger = ledger

    def __len__(self) -> int:
        return len(self._buried())

    def bury(self, records: Records, round_: Round) -> int:
        """Writes the tombstones of the rows that a round deletes; call it while the pictures are still there.

        Safe to repeat: pictures that have one get no second, and if all have, nothing is written.

        Args:
          records: a table that holds the rows; its other rows are left alone.
          round_: of this ledger, not erased.

        Returns:
          How many were new.

        Raises:
          UserError: the table lacks a row of the round, or the ledger cannot be written.
        """
        covered = self._ledger.covered(round_)
        # A request may name rows that an earlier round deleted after it was acknowledged: they have their tombstones.
        present = set(records.ids.tolist())
        here = sorted(set(covered) - (self._ledger.deleted(covered) - present))
        new = sorted(set(self._ledger.salt.pictures(records.images[records.rows_of(here)])) - self._buried())
        if new:
            self._ledger.note(KIND, {"round": round_.number, "pictures": new})
        return len(new)

    def refused(self, records: Records, held: Records | None = None) -> tuple[Refused, ...]:
        """The rows that may not be there, in the table's order.

        Args:
          records: what is there, or is to come.
          held: rows that are in the run rightfully. The picture of a twin that a request left behind is theirs; ids
            that were deleted are refused all the same.
        """
        buried = self._buried()
        gone = self._ledger.deleted(records.ids.tolist())
        pictures = self._ledger.salt.pictures(records.images) if buried else [""] * len(records)
        if held is not None and not buried.isdisjoint(pictures):
            buried -= set(self._ledger.salt.pictures(held.images))
        found = []
        for row_id, picture in zip(records.ids.tolist(), pictures, strict=True):
            if row_id in gone:
                found.append(Refused(row_id, "id"))
            elif picture in buried:
                found.append(Refused(row_id, "picture"))
        return tuple(found)

    def _buried(self) -> set[str]:
        return {picture for entry in self._ledger.entries(KIND) for picture in entry.payload["pictures"]}
