"""Tombstones: what was deleted does not come back, under whatever name; everything else does."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unlearning.ledgers import ask, make, table
from tfpdu.common import UserError
from tfpdu.data import concatenate
from tfpdu.unlearning.ledger import Ledger
from tfpdu.unlearning.tombstones import KIND, Refused, Tombstones

TABLE = table(12)


def deleted(directory, *rows, records=TABLE):
    """A ledger, and the tombstones of one round that deleted these rows."""
    ledger = make(directory)
    ask(ledger, *records.ids[list(rows)].tolist())
    round_ = ledger.start_round()
    tombstones = Tombstones(ledger)
    tombstones.bury(records, round_)
    ledger.finish_round(round_)
    return ledger, tombstones


def renamed(records, prefix="new"):
    return dataclasses.replace(records, ids=np.array([f"{prefix}/{i}" for i in range(len(records))]))


def test_the_same_picture_is_refused_under_another_name_and_the_same_name_with_another_picture(tmp_path):
    _, tombstones = deleted(tmp_path, 1, 4)
    assert len(tombstones) == 2
    assert tombstones.refused(TABLE) == (Refused("set/001", "id"), Refused("set/004", "id"))
    assert tombstones.refused(renamed(TABLE)) == (Refused("new/1", "picture"), Refused("new/4", "picture"))
    assert tombstones.refused(table(12, seed=1)) == (Refused("set/001", "id"), Refused("set/004", "id"))
    assert tombstones.refused(table(12, seed=1, prefix="new")) == ()
    assert Tombstones(Ledger(tmp_path)).refused(renamed(TABLE)) == tombstones.refused(renamed(TABLE))


def test_a_picture_that_differs_in_one_pixel_or_in_shape_is_another(tmp_path):
    _, tombstones = deleted(tmp_path, 0)
    images = TABLE.images[:1].copy()
    images[0, 0, 0, 0] ^= 1
    other = dataclasses.replace(renamed(TABLE.take([0])), images=images)
    assert tombstones.refused(other) == ()
    turned = dataclasses.replace(other, images=TABLE.images[:1].reshape(1, 12, 3, 3))
    assert tombstones.refused(turned) == ()


def test_erasing_keeps_the_tombstones_and_nothing_in_the_clear(tmp_path):
    ledger, tombstones = deleted(tmp_path, 1)
    ledger.erase(ledger.history().rounds[1])
    assert [r.id for r in tombstones.refused(renamed(TABLE))] == ["new/1"]
    pixels = TABLE.images[1].tobytes()
    for path in tmp_path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert b"set/001" not in data
        assert pixels not in data


def test_burying_twice_writes_once(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "set/001", "set/002")
    round_ = ledger.start_round()
    tombstones = Tombstones(ledger)
    assert [tombstones.bury(TABLE, round_), tombstones.bury(TABLE, round_)] == [2, 0]
    assert len(ledger.entries(KIND)) == 1


def test_a_twin_that_the_run_holds_rightfully_may_stay_until_it_is_deleted_itself(tmp_path):
    both = concatenate([TABLE, renamed(TABLE.take([1]), "twin")])
    _, tombstones = deleted(tmp_path, 1, records=both)
    left = both.without(["set/001"])
    assert tombstones.refused(left) == (Refused("twin/0", "picture"),)
    assert tombstones.refused(left, held=left) == ()
    assert tombstones.refused(both, held=both) == (Refused("set/001", "id"),)


def test_a_row_that_an_earlier_round_deleted_does_not_stop_a_later_one(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "set/001")
    first = ledger.start_round()
    ask(ledger, "set/001", "set/002")  # acknowledged while the first round runs
    tombstones = Tombstones(ledger)
    tombstones.bury(TABLE, first)
    ledger.finish_round(first)
    assert tombstones.bury(TABLE.without(["set/001"]), ledger.start_round()) == 1
    assert len(tombstones) == 2


def test_a_table_without_the_rows_is_refused_and_nothing_written(tmp_path):
    ledger = make(tmp_path)
    ask(ledger, "set/001")
    round_ = ledger.start_round()
    with pytest.raises(UserError, match="unknown id 'set/001'"):
        Tombstones(ledger).bury(TABLE.without(["set/001"]), round_)
    assert ledger.entries(KIND) == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 11), min_size=1), min_size=1, max_size=4), st.booleans())
def test_after_any_rounds_just_the_deleted_are_refused(tmp_path_factory, rounds, rename):
    directory = tmp_path_factory.mktemp("run")
    gone, records = set(), TABLE
    for rows in rounds:
        ids = {f"set/{row:03d}" for row in rows} - gone
        if not ids:
            continue
        ledger, _ = deleted(directory, *records.rows_of(sorted(ids)).tolist(), records=records)
        records, gone = records.without(sorted(ids)), gone | ids
    assert len(Tombstones(ledger)) == len(gone)
    coming = renamed(TABLE, "x") if rename else TABLE
    expected = [row_id for row_id, old in zip(coming.ids, TABLE.ids, strict=True) if old in gone]
    assert [refused.id for refused in Tombstones(ledger).refused(coming)] == expected
