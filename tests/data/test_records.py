import dataclasses

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data import UNKNOWN, concatenate


def test_take_moves_every_column_alike(make_records):
    records = make_records(subjects=np.array([f"p{row}" for row in range(120)]))
    rows = np.array([7, 3, 100])
    taken = records.take(rows)
    for field in ("images", "labels", "attributes", "ids", "origin", "subjects"):
        np.testing.assert_array_equal(getattr(taken, field), getattr(records, field)[rows])
    assert taken.generator is None


def test_take_accepts_a_mask_and_may_leave_nothing(make_records):
    records = make_records()
    assert len(records.take(records.labels == 1)) == 40
    assert len(records.take(np.zeros(120, bool))) == 0


def test_without_drops_the_named_rows_and_keeps_the_order_of_the_rest(make_records):
    records = make_records()
    left = records.without(["set/train/00001", "set/train/00119"])
    assert left.ids.tolist() == [i for i in records.ids.tolist() if i not in ("set/train/00001", "set/train/00119")]
    assert len(records.without([])) == 120


def test_rows_of_finds_ids_in_the_order_asked_and_names_an_unknown_one(make_records):
    records = make_records()
    assert records.rows_of(["set/train/00005", "set/train/00002"]).tolist() == [5, 2]
    with pytest.raises(UserError, match="'nobody'"):
        records.rows_of(["nobody"])


def test_concatenate_fills_columns_that_one_part_lacks(make_records):
    originals = make_records(12)
    made = dataclasses.replace(
        make_records(6, prefix="made"),
        origin=np.full(6, 1, np.int8),
        generator=np.full(6, "g1"),
        realised=np.ones((6, 1), np.int8),
        subjects=np.full(6, "somebody"),
    )
    both = concatenate([originals, made])
    assert len(both) == 18
    assert both.generator.tolist() == [""] * 12 + ["g1"] * 6
    assert both.subjects.tolist() == [""] * 12 + ["somebody"] * 6
    assert both.is_original.sum() == 12
    np.testing.assert_array_equal(both.realised[:12], originals.attributes)


def test_tables_that_do_not_match_cannot_be_joined(make_records):
    with pytest.raises(UserError, match="classes"):
        concatenate([make_records(classes=3), make_records(classes=4, prefix="other")])
    small = make_records(prefix="other")
    small = dataclasses.replace(small, images=small.images[:, :3, :3])
    with pytest.raises(UserError, match=r"\[3, 3, 3\] and of \[6, 6, 3\]"):
        concatenate([make_records(), small])


def test_an_id_that_occurs_twice_is_refused_and_named(make_records):
    with pytest.raises(UserError, match="'set/train/00000' occurs more than once"):
        concatenate([make_records(6), make_records(3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((120, 6, 6, 3), np.float32)}, "float32"),
        ({"images": np.zeros((120, 6, 6), np.uint8)}, "uint8"),
        ({"labels": np.zeros(5, np.int32)}, "images has 120 rows, labels have 5"),
        ({"attributes": np.zeros((120, 2), np.int8)}, "1 attributes named"),
    ],
)
def test_a_table_of_another_type_or_shape_is_refused(make_records, change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(make_records(), **change)


def test_a_misspelt_attribute_is_told_the_nearest_name(make_records):
    with pytest.raises(UserError, match="unknown attribute 'color', did you mean 'colour'"):
        make_records().column("color")


def test_label_is_a_variable_like_the_attributes(make_records):
    records = make_records()
    assert records.spec("label").values == ("a", "b", "c")
    assert records.column("label").dtype == np.int64
    assert set(records.column("colour")) == {UNKNOWN, 0, 1}


def test_labelled_by_an_attribute_keeps_the_rows_on_which_it_is_known(make_records):
    records = make_records(6)
    codes = np.array([0, 1, UNKNOWN, 0, 1, UNKNOWN], np.int8)
    attributes = records.attributes.copy()
    attributes[:, 0] = codes
    records = dataclasses.replace(records, attributes=attributes)
    table = records.labelled_by(records.specs[0].name)
    np.testing.assert_array_equal(table.labels, [0, 1, 0, 1])
    assert table.label_names == records.specs[0].values
    assert table.ids.tolist() == records.ids[[0, 1, 3, 4]].tolist()


def test_class_weights_let_every_class_that_occurs_weigh_the_same(make_records):
    records = dataclasses.replace(
        make_records(8), labels=np.array([0, 0, 0, 0, 0, 0, 2, 2], np.int32), label_names=("a", "b", "c")
    )
    of_rows = records.class_weights()[records.labels]
    assert of_rows.sum() == pytest.approx(8)
    assert of_rows[:6].sum() == pytest.approx(of_rows[6:].sum())
    assert np.isfinite(records.class_weights()).all()


def test_without_attributes_only_their_columns_are_gone(make_records):
    records = make_records(6)
    first, *rest = records.specs
    fewer = records.without_attributes([first.name])
    assert fewer.specs == tuple(rest)
    np.testing.assert_array_equal(fewer.attributes, records.attributes[:, 1:])
    np.testing.assert_array_equal(fewer.images, records.images)
    assert records.without_attributes([]).specs == records.specs
    with pytest.raises(UserError, match="unknown attribute"):
        records.without_attributes(["nothing"])
