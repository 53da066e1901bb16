"""Which shard and which slice a row belongs to: decided once, by stable hashes, and kept."""

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import id_hashes
from tfpdu.data import Records
from tfpdu.ensemble.settings import EnsembleSettings


def assign_shards(records: Records, shards: int, slices: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Deals rows to shards, and within a shard to slices, evenly within each label.

    Rows of one subject stay together. Without subjects the shards' sizes differ by at most one row, and so do their
    numbers of rows of each label.

    Args:
      records: the rows, n of them.
      shards: k, at least 1 and at most the number of rows (of subjects, where those are known).
      slices: R, at least 1.
      seed: of the hash that orders the rows; the order of `records` does not matter.

    Returns:
      shard int32[n] in 0..k-1 and slice int32[n] in 0..R-1.

    Raises:
      UserError: k or R is below 1, or k is more than there are rows or subjects to deal.
    """
    if shards < 1 or slices < 1:
        name, value = ("shards", shards) if shards < 1 else ("slices", slices)
        raise UserError(f"{name}: expected a number of at least 1, got {value}")
    owners = _owners(records)
    units = len(np.unique(owners))
    if shards > units:
        what = "rows" if units == len(records) else "subjects"
        raise UserError(f"shards: {shards} asked for, but there are only {units} {what} to deal")
    shard = _deal(records, owners, shards, (seed, "shard"))
    slice_ = np.zeros(len(records), np.int32)
    for s in range(shards):
        rows = np.flatnonzero(shard == s)
        slice_[rows] = _deal(records.take(rows), owners[rows], slices, (seed, "slice"))
    return shard, slice_


def assign_new(
    new: Records, existing: Records, shard: np.ndarray, slice_: np.ndarray, settings: EnsembleSettings, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Deals added rows so that the sizes of shards, and of the slices in each, become even again.

    Only parts below the common size get rows, so filling up what was deleted touches only the shards that lost
    something, and in them only the slices. Among those the one with the fewest rows of the label comes first; rows go
    by hash within their label.

    Args:
      new: rows to add, m of them.
      existing: the rows that stay.
      shard: int32[n], the shard of each existing row.
      slice_: int32[n], its slice.
      settings: gives the numbers of shards and slices.
      seed: of the hash.

    Returns:
      shard int32[m] and slice int32[m].
    """
    new_shard = _fill(new, existing.labels, shard, settings.shards, (seed, "new shard"))
    new_slice = np.zeros(len(new), np.int32)
    for s in range(settings.shards):
        rows, there = np.flatnonzero(new_shard == s), shard == s
        labels, slices = existing.labels[there], slice_[there]
        new_slice[rows] = _fill(new.take(rows), labels, slices, settings.dealt_slices, (seed, "new slice"))
    return new_shard, new_slice


def _fill(new: Records, labels: np.ndarray, part: np.ndarray, parts: int, key: tuple[object, ...]) -> np.ndarray:
    """int32[m]: the part of each new row, given the labels and parts of the rows that are there."""
    counts = np.zeros((parts, new.classes), np.int64)
    np.add.at(counts, (part, labels), 1)
    size = -(-(len(labels) + len(new)) // parts)
    result = np.zeros(len(new), np.int32)
    for row in np.lexsort((id_hashes(new.ids, *key), new.labels)):
        room = size - counts.sum(1)  # [parts]
        open_ = np.flatnonzero(room > 0)
        p = min(open_, key=lambda i: (counts[i, new.labels[row]], -room[i], i))
        counts[p, new.labels[row]] += 1
        result[row] = p
    return result


def _owners(records: Records) -> np.ndarray:
    """Strings [n]: what keeps rows together: the subject, or the row itself where nobody knows it."""
    ids = np.char.add("row\x1f", records.ids.astype(str))
    if records.subjects is None:
        return ids
    subjects = records.subjects.astype(str)
    return np.where(subjects == "", ids, np.char.add("subject\x1f", subjects))


def _deal(records: Records, owners: np.ndarray, parts: int, key: tuple[object, ...]) -> np.ndarray:
    """Big owners first, then by label, then by hash: each to the part with the fewest rows of its labels.

    int32[n]. With owners of one row each, label after label is dealt in turn to the smallest parts.
    """
    result = np.zeros(len(records), np.int32)
    if parts == 1 or not len(records):
        return result
    names, owner = np.unique(owners, return_inverse=True)
    table = np.zeros((len(names), records.classes), np.int64)  # rows of each owner by label
    np.add.at(table, (owner, records.labels), 1)
    order = np.lexsort((id_hashes(names.tolist(), *key), table.argmax(1), -table.sum(1)))
    counts = np.zeros((parts, records.classes), np.int64)
    part = np.zeros(len(names), np.int32)
    for i in order:
        crowd = counts @ table[i]  # [parts]: rows of this owner's labels, by how many it brings
        part[i] = p = np.lexsort((counts.sum(1), crowd))[0]
        counts[p] += table[i]
    return part[owner]
