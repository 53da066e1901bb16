import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.data import UNKNOWN, joint, with_joint
from tfpdu.data.attributes import Column, as_int8, bins, categories, superclass

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def test_four_of_the_ten_classes_are_vehicles():
    assert superclass(np.arange(10), CIFAR10).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1]


def test_categories_are_sorted_and_missing_texts_are_unknown():
    spec, codes = categories("fur", ["orange", " black ", "", "NA", "orange", "n/a", "?"])
    assert spec.values == ("black", "orange")
    assert codes.tolist() == [1, 0, -1, -1, 1, -1, -1]


def test_whole_numbers_are_sorted_as_numbers():
    assert categories("size", ["10", "9", "100"])[0].values == ("9", "10", "100")


def test_a_quantity_without_bins_is_refused_with_a_proposal():
    with pytest.raises(UserError, match=r"age: 21 different numbers; state bins, by edges 'age:30,60'"):
        categories("age", [str(age) for age in range(21)])


def test_edges_belong_to_the_bin_above_them():
    spec, codes = bins("age", np.array([29.9, 30, 59, 60, np.nan, -5]), (30, 60))
    assert spec.values == ("<30", "30-60", ">=60")
    assert codes.tolist() == [0, 1, 1, 2, UNKNOWN, 0]


def test_quantiles_cut_the_known_numbers_into_equal_parts():
    column = Column.parse("age:q4", ["age"])
    spec, codes = column.encode([str(v) for v in range(1, 101)] + ["", "NaN"])
    assert np.bincount(codes[:100]).tolist() == [25, 25, 25, 25]
    assert codes[100:].tolist() == [-1, -1]
    assert spec.cardinality == 4


def test_quantiles_that_coincide_are_refused():
    with pytest.raises(UserError, match="do not fall into 4 quantiles"):
        Column.parse("age:q4", ["age"]).encode(["1"] * 50 + ["2"])


@pytest.mark.parametrize(
    "text", ["age:60,30", "age:30,30", "age:", "age:q1", "age:qx", "age:old", "age:nan", "age:inf"]
)
def test_bins_that_make_no_sense_are_refused_with_the_right_form(text):
    with pytest.raises(UserError, match=r"expected bins as 'age:30,60'"):
        Column.parse(text, ["age"])


def test_a_misspelt_column_is_told_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'age'"):
        Column.parse("aeg:30", ["age", "file"])


def test_a_column_whose_name_has_a_colon_is_taken_as_it_is():
    assert Column.parse("a:b", ["a:b"]) == Column("a:b")


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.sets(st.floats(-1e6, 1e6), min_size=1, max_size=6))
def test_each_number_lies_between_the_edges_of_its_bin(numbers, edges):
    edges = sorted(edges)
    codes = bins("x", np.array(numbers), edges)[1]
    bounds = [-np.inf, *edges, np.inf]
    assert all(bounds[code] <= v < bounds[code + 1] for v, code in zip(numbers, codes, strict=True))


def test_a_joint_names_its_cells_row_major(make_records):
    records = make_records(24)
    spec, codes = joint(records, ("label", "colour"))
    assert spec.name == "label x colour"
    assert spec.values == ("a, black", "a, orange", "b, black", "b, orange", "c, black", "c, orange")
    for row, code in enumerate(codes):
        label, colour = records.labels[row], records.attributes[row, 0]
        assert code == (UNKNOWN if colour == UNKNOWN else label * 2 + colour)


def test_a_joint_can_be_added_as_an_attribute(make_records):
    records = with_joint(make_records(24), ("label", "colour"))
    assert [spec.name for spec in records.specs] == ["colour", "label x colour"]
    assert records.attributes.dtype == np.int8
    np.testing.assert_array_equal(records.column("label x colour"), joint(records, ("label", "colour"))[1])


def test_more_values_than_the_codes_can_hold_are_refused():
    spec, codes = categories("person", [f"p{row}" for row in range(128)])
    with pytest.raises(UserError, match="128 values, expected at most 127"):
        as_int8(spec, codes)
