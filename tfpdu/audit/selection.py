"""Which rows an audit looks at: roles by hashed id, and non-members matched to the members.

Everything is drawn by hashes of ids, so that the rows of one population that also belong to another are asked only
once, and an audit after a deletion looks at the same rows again.
"""

import dataclasses

import numpy as np

from tfpdu.common.errors import UserError
from tfpdu.common.seeds import hashed_order, id_hashes
from tfpdu.data.records import Records


@dataclasses.dataclass(frozen=True)
class Matched:
    """Members and as many non-members of one role.

    Attributes:
      members: strings [m], ids of members, sorted.
      nonmembers: strings [m], ids of non-members, sorted.
      exact: how many of the m have a partner with the same label and attributes; the others' has the same label.
      dropped: members that found no partner and were left out.
    """

    members: np.ndarray
    nonmembers: np.ndarray
    exact: int
    dropped: int


def evaluation_role(records: Records, seed: int) -> np.ndarray:
    """bool[n]: rows whose role is evaluation, the others' is calibration; one coin per subject, or else per id."""
    keys = records.ids
    if records.subjects is not None:
        keys = np.where(records.subjects == "", records.ids, np.char.add("subject\x1f", records.subjects.astype(str)))
    return id_hashes(keys.tolist(), seed, "audit role") % np.uint64(2) == 1


def matched(members: Records, candidates: np.ndarray, nonmembers: Records, rows: int, seed: int) -> Matched:
    """Draws at most `rows` of the candidate members and matches a non-member to each.

    Members come in hashed order. Each gets the next non-member, in hashed order, of its label x attributes cell; where
    that cell has none left, one of its label that is left over; where there is none either, the member is dropped.
    So both sides have the same size and the same labels, and the same attributes as far as the non-members go.

    Args:
      members: the population.
      candidates: bool[n], its rows that have the role in question.
      nonmembers: the role's non-members.
      rows: at most so many.
      seed: the audit's seed.
    """
    drawn = _drawn(members, seed)
    drawn = drawn[candidates[drawn]][:rows]
    pool = _drawn(nonmembers, seed)
    cells, pool_cells = _cells(members)[drawn], _cells(nonmembers)[pool]
    first, second = _pair(cells, pool_cells)
    left, pool_left = np.delete(np.arange(len(drawn)), first), np.delete(np.arange(len(pool)), second)
    more, pool_more = _pair(members.labels[drawn[left], None], nonmembers.labels[pool[pool_left], None])
    chosen = np.concatenate([drawn[first], drawn[left[more]]])
    partners = np.concatenate([pool[second], pool[pool_left[pool_more]]])
    return Matched(
        np.sort(members.ids[chosen]), np.sort(nonmembers.ids[partners]), len(first), len(drawn) - len(chosen)
    )


def check_disjoint(tables: dict[str, Records], others: dict[str, Records]) -> None:
    """Raises if a row, or a subject, of one group of tables occurs in a table of the other group."""
    for name, table in tables.items():
        for other_name, other in others.items():
            shared = np.intersect1d(table.ids, other.ids)
            if shared.size:
                raise UserError(f"audit: id {shared[0]!r} is in {name!r} and in {other_name!r}; they must be disjoint")
            if table.subjects is not None and other.subjects is not None:
                people = np.setdiff1d(np.intersect1d(table.subjects, other.subjects), [""])
                if people.size:
                    raise UserError(f"audit: subject {people[0]!r} is in {name!r} and in {other_name!r}")


def _drawn(records: Records, seed: int) -> np.ndarray:
    return hashed_order(records.ids.tolist(), seed, "audit draw")


def _cells(records: Records) -> np.ndarray:
    """int64[n, 1 + j]: label and attributes."""
    return np.concatenate([records.labels[:, None], records.attributes], axis=1).astype(np.int64)


def _pair(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs the k-th row of each cell on the left with the k-th on the right; positions on either side."""
    _, cell = np.unique(np.concatenate([left, right]), axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    keys = [_ranked(part) for part in (cell[: len(left)], cell[len(left) :])]
    _, first, second = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    return first, second


def _ranked(cell: np.ndarray) -> np.ndarray:
    """A whole number per row that is unique: its cell and how many of the cell came before it."""
    order = np.argsort(cell, kind="stable")
    ordered = cell[order]
    rank = np.empty(len(cell), np.int64)
    rank[order] = np.arange(len(cell)) - np.searchsorted(ordered, ordered, side="left")
    return cell.astype(np.int64) * (1 << 32) + rank
