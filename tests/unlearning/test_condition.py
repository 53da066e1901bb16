"""Conditions: what they find, that unknown values are never found by accident, and that nothing is run."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unlearning.ledgers import table
from tfpdu.common import UserError
from tfpdu.data import AttributeSpec
from tfpdu.unlearning.condition import rows_where

TABLE = table(12)  # labels abcabcabcabc, colours ???bbbooo???


def found(text, records=TABLE):
    return np.flatnonzero(rows_where(records, text)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("label==a", [0, 3, 6, 9]),
        ("label==2", [2, 5, 8, 11]),
        ("'label' == \"c\"", [2, 5, 8, 11]),
        ("not " * 100 + "label==a", [0, 3, 6, 9]),
        ("label!=a and label!=1", [2, 5, 8, 11]),
        ("label in [a, 1] and colour==orange", [6, 7]),
        ("colour!=orange", [3, 4, 5]),
        ("not colour==orange", [3, 4, 5]),
        ("not (colour==orange or label==a)", [4, 5]),
        ("colour==unknown", [0, 1, 2, 9, 10, 11]),
        ("colour!=unknown", [3, 4, 5, 6, 7, 8]),
        ("colour not in (orange, black)", []),
        ("label==a or label==b and colour==black", [0, 3, 4, 6, 9]),
        ("subject=='person 1'", [2, 3]),
        ("subject in ['person 1', 'person 4'] and label==c", [2, 8]),
        ("subject!='person 1' and colour==black", [4, 5]),
        ("subject==unknown", [10, 11]),
        ("id=='set/003' or id=='set/005'", [3, 5]),
        ("id not in ['set/000', 'set/001'] and label!=c and colour==unknown", [9, 10]),
    ],
)
def test_a_condition_finds(text, rows):
    assert found(text) == rows
    assert found(f"  {text}\n") == rows


def test_numbers_are_names_where_values_are_named_by_numbers():
    digits = dataclasses.replace(TABLE, label_names=("7", "8", "9"))
    assert found("label==7", digits) == [0, 3, 6, 9]
    with pytest.raises(UserError, match=r"label: no value 0; known: 7, 8, 9"):
        found("label==0", digits)
    people = dataclasses.replace(TABLE, subjects=np.array(["2880", "17"] * 6))
    assert found("subject==17", people) == [1, 3, 5, 7, 9, 11]
    with pytest.raises(UserError, match=r"subject: no value 1"):  # and not the second of them
        found("subject==1", people)


def test_an_attribute_called_id_goes_before_the_rows_ids():
    named = dataclasses.replace(TABLE, specs=(AttributeSpec("id", ("black", "orange")),))
    assert found("id==black", named) == [3, 4, 5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read; expected something like"),
        ("label=3", "cannot be read"),
        ("label==", "cannot be read"),
        ("label", "'label': expected a comparison such as label==3"),
        ("1", "expected a comparison"),
        ("__import__('os').system('true')", "expected a comparison"),
        ("(lambda: 1)() == 1", "expected a name, a whole number or a text in quotes"),
        ("label==open('x')", "expected a name, a whole number or a text in quotes"),
        ("label=={'a': 1}['a']", "expected a name"),
        ("label==f'{1}'", "expected a name"),
        ("label==1.5", "'1.5': expected a name, a whole number"),
        ("label==-1", "expected a name, a whole number"),
        ("id==set/003", "'set / 003'|cannot be read"),
        ("label.real==1", "expected a name"),
        ("label<1", "expected ==, !=, in or not in"),
        ("label is a", "expected ==, !=, in or not in"),
        ("a==label==a", "expected a comparison"),
        ("label in a", "'a': expected a list"),
        ("label in [*a]", "expected a name"),
        ("0==label", "'0': expected a variable's name on the left"),
        ("labl==a", "unknown variable 'labl', did you mean 'label'\\?; known: label, colour, subject, id"),
        ("colour==orang", "colour: no value 'orang', did you mean 'orange'\\?; known: black, orange"),
        ("label==3", "label: no value 3; known: a, b, c"),
        ("label==unknwon", "label: no value 'unknwon'"),
        ("subject==''", "subject: no value ''"),
        ("label==a\x00", "cannot be read"),
        ("(" * 500 + "label==a" + ")" * 500, "cannot be read|nested too deeply"),
        ("label==a or " * 200 + "label==a", "2408 characters, expected at most 2000"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=message) as caught:
        rows_where(TABLE, text)
    assert str(caught.value).startswith("--where=")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_no_subject_is_known_where_the_data_set_names_none():
    with pytest.raises(UserError, match="unknown variable 'subject'; known: label, colour, id"):
        found("subject==a", table(subjects=False))


COMPARISONS = st.one_of(
    st.tuples(st.just("label"), st.sampled_from(["==", "!="]), st.sampled_from(["a", "b", "0", "2", "unknown"])),
    st.tuples(st.just("colour"), st.sampled_from(["==", "!="]), st.sampled_from(["black", "1", "unknown"])),
    st.tuples(st.just("subject"), st.sampled_from(["==", "!="]), st.sampled_from(["'person 0'", "unknown"])),
    st.tuples(
        st.just("colour"), st.sampled_from(["in", "not in"]), st.sampled_from(["[]", "[black, orange]", "[1, unknown]"])
    ),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda part: st.one_of(st.tuples(st.just("not"), part), st.tuples(part, st.sampled_from(["and", "or"]), part)),
    max_leaves=8,
)


def written(tree):
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    return f"({written(tree[0])}) {tree[1]} ({written(tree[2])})" if isinstance(tree[0], tuple) else " ".join(tree)


def told(tree, values, codes):
    """True, False or None (unknown) for one row: Kleene's tables, word by word."""
    if tree[0] == "not":
        inner = told(tree[1], values, codes)
        return None if inner is None else not inner
    if isinstance(tree[0], tuple):
        both = [told(tree[0], values, codes), told(tree[2], values, codes)]
        deciding = tree[1] == "or"
        return deciding if deciding in both else None if None in both else not deciding
    name, operator, wanted = tree
    if operator in ("==", "!="):
        wanted = wanted.strip("'")
        if wanted == "unknown":
            same = values[name] is None
        else:
            same = None if values[name] is None else wanted in (values[name], codes[name])
        return None if same is None else same == (operator == "==")
    each = [told((name, "==", word.strip()), values, codes) for word in wanted.strip("[]").split(",") if word]
    inside = True if True in each else None if None in each else False
    return None if inside is None else inside == (operator == "in")


@settings(max_examples=200, deadline=None)
@given(CONDITIONS)
def test_conditions_agree_with_a_row_by_row_reading(tree):
    expected = []
    for row in range(len(TABLE)):
        label, colour = int(TABLE.labels[row]), int(TABLE.attributes[row, 0])
        values = {
            "label": "abc"[label],
            "colour": None if colour < 0 else ("black", "orange")[colour],
            "subject": str(TABLE.subjects[row]) or None,
        }
        codes = {"label": str(label), "colour": str(colour), "subject": ""}
        if told(tree, values, codes) is True:
            expected.append(row)
    assert found(written(tree)) == expected
