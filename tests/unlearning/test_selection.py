"""Selectors: whom a request means, and that what it cannot mean is refused by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unlearning.ledgers import make, table
from tfpdu.common import UserError
from tfpdu.unlearning.selection import Selector, select

TABLE = table(12, synthetic=3)
ONE = "--ids, --ids_file, --subject, --where: expected exactly one of them"


@pytest.mark.parametrize(
    ("selector", "rows"),
    [
        (Selector(("set/004", "set/001", "set/004")), [1, 4]),
        (Selector(subject="person 1"), [2, 3]),
        (Selector(subject="person 4"), [8]),  # row 9 is a generator's
        (Selector(where="label==a"), [0, 3, 6]),
        (Selector(where="label==0 and colour==black"), [3]),
    ],
)
def test_a_selector_means_originals_only(selector, rows):
    assert select(TABLE, selector) == tuple(f"set/{row:03d}" for row in rows)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"ids": ["set/099"]}, r"--ids: 'set/099' is not among the 9 originals of this run"),
        ({"ids": ["set/001", "set/099", "set/098"]}, r"--ids: 'set/098' \(and 1 more\) is not among"),
        ({"ids": ["other/001"]}, r"--ids: 'other/001' is not an id of this run, whose ids are like 'set/…'"),
        ({"ids": ["set/011"]}, r"--ids: 'set/011' is a synthetic row, expected an original"),
        ({"subject": "person 11"}, r"--subject=person 11: no row belongs to this subject, did you mean 'person 1'"),
        ({"where": "id=='set/011'"}, r"--where=id=='set/011': holds for none of the 9 originals"),
        ({"where": "colour==black and colour==orange"}, "holds for none of the 9 originals"),
        ({"where": "label==d"}, r"--where=label==d: label: no value 'd'"),
    ],
)
def test_what_the_run_does_not_hold_is_refused_by_name(given_, message):
    with pytest.raises(UserError, match=message) as caught:
        select(TABLE, Selector.of(**given_))
    assert "\n" not in str(caught.value)


def test_a_subject_is_refused_where_the_data_set_names_none():
    with pytest.raises(UserError, match="--subject=x: this data set does not say whose the rows are"):
        select(table(subjects=False), Selector(subject="x"))


def test_a_row_that_was_deleted_earlier_is_refused_as_such_even_when_erased(tmp_path):
    ledger = make(tmp_path)
    selector = Selector(("set/001",))
    ledger.request(selector, select(TABLE, selector))
    ledger.erase(ledger.finish_round(ledger.start_round()))
    left = TABLE.without(ledger.deleted(TABLE.ids.tolist()))
    with pytest.raises(UserError, match="--ids: 'set/001' was deleted earlier"):
        select(left, selector, ledger.deleted)
    with pytest.raises(UserError, match="--ids: 'set/099' is not among the 8 originals"):
        select(left, Selector(("set/099",)), ledger.deleted)


@pytest.mark.parametrize(
    "given_",
    [
        {},
        {"ids": [], "subject": "", "where": ""},
        {"ids": ["a"], "subject": "b"},
        {"subject": "b", "where": "label==1"},
        {"ids": ["a"], "ids_file": "x"},
        {"ids_file": "x", "where": "label==1"},
    ],
)
def test_exactly_one_way_of_asking_is_taken(given_):
    with pytest.raises(UserError, match=ONE):
        Selector.of(**given_)


def test_a_file_of_ids_is_read_and_its_faults_are_placed(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_bytes("\ufeffset/004\r\n\r\n  set/001\nset/004".encode())
    selector = Selector.of(ids_file=path)
    assert selector == Selector(("set/001", "set/004"))
    assert select(TABLE, selector) == ("set/001", "set/004")
    path.write_text("set/001\n\nset/099\nset/098\nset/099\n")
    with pytest.raises(UserError, match=r"--ids_file=.*ids\.txt: line 3: 'set/099' \(and 1 more\) is not among"):
        select(TABLE, Selector.of(ids_file=path))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), (b" \n\n", "holds no ids"), (b"\xff\xfe\x00", "expected UTF-8 text with one id a line")],
)
def test_a_file_without_ids_is_refused(tmp_path, content, message):
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"--ids_file=.*ids\.txt: {message}"):
        Selector.of(ids_file=path)


def test_the_wording_is_the_same_for_the_same_ids_and_for_nothing_else():
    same = [Selector(("b", "a")), Selector(("a", "b", "a")), Selector(("a", "b"), source="--ids_file=x")]
    assert len({str(selector.wording()) for selector in same}) == 1
    assert same[0] == same[1] == same[2]
    others = [Selector(("a",)), Selector(subject="a"), Selector(where="a"), *same[:1]]
    assert len({str(selector.wording()) for selector in others}) == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1), st.sampled_from(["set", "other"]))
def test_ids_are_taken_all_or_none(numbers, prefix):
    ids = [f"{prefix}/{number:03d}" for number in numbers]
    if prefix == "set" and max(numbers) < 9:
        assert select(TABLE, Selector(tuple(ids))) == tuple(sorted(set(ids)))
    else:
        with pytest.raises(UserError, match="--ids: "):
            select(TABLE, Selector(tuple(ids)))
