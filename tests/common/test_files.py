import json
import os
import time

import numpy as np
import pytest

from tfpdu.common import UserError, files


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_nothing_is_visible_under_the_name_before_the_block_has_ended(tmp_path):
    path = tmp_path / "sub" / "w.weights.h5"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # else the renaming would be a copy
        assert temporary.name.endswith(".weights.h5")  # Keras chooses the format by it
    assert path.read_text() == "new"


def test_a_new_file_has_the_rights_of_any_other_new_file(tmp_path):
    files.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_takes_numpy_and_turns_what_json_has_not_into_null(tmp_path):
    value = {
        "n": np.int64(3), "x": np.float32(0.5), "yes": np.bool_(True), "rows": np.arange(3), "none": float("nan"),
        "far": np.inf, "tuple": (1, 2), "path": tmp_path, 4: "ä",
    }  # fmt: skip
    files.write_json(tmp_path / "v.json", value)
    assert files.read_json(tmp_path / "v.json") == {
        "n": 3, "x": 0.5, "yes": True, "rows": [0, 1, 2], "none": None, "far": None, "tuple": [1, 2],
        "path": str(tmp_path), "4": "ä",
    }  # fmt: skip


@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe"])
def test_json_that_cannot_be_read_is_the_users_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match="not valid JSON"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="no such file"):
        files.read_json(tmp_path / "b.json")


def test_a_torn_last_line_is_neither_read_nor_built_upon(tmp_path):
    path = tmp_path / "m.jsonl"
    assert files.read_json_lines(path) == []
    files.append_json_line(path, {"t": 0})
    files.append_json_line(path, {"t": 1})
    with open(path, "ab") as file:
        file.write(b'{"t": 2, "accu')  # killed here
    assert files.read_json_lines(path) == [{"t": 0}, {"t": 1}]
    files.append_json_line(path, {"t": 2})
    assert path.read_text() == '{"t": 0}\n{"t": 1}\n{"t": 2}\n'


def test_a_file_that_is_one_torn_line_starts_anew(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"t"')
    files.append_json_line(path, {"t": "é\u2028"})
    assert files.read_json_lines(path) == [{"t": "é\u2028"}]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"t": 0}\nnonsense\n{"t": 2}\n')
    with pytest.raises(UserError, match=r"m\.jsonl: line 2: not valid JSON"):
        files.read_json_lines(tmp_path / "m.jsonl")


def test_equal_arrays_make_equal_npz_files_at_any_time(tmp_path, monkeypatch):
    arrays = {"a": np.arange(5), "b": np.array(["x", "y"])}
    files.write_npz(tmp_path / "1.npz", **arrays)
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    files.write_npz(tmp_path / "2.npz", **arrays)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()
    again = files.read_npz(tmp_path / "1.npz")
    assert again.keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(again[key], value)


def test_npz_files_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([{"x": 1}], object))
    with pytest.raises(UserError, match=r"a\.npz: not a readable \.npz"):
        files.read_npz(tmp_path / "a.npz")


def test_a_damaged_or_missing_npz_is_the_users_error(tmp_path):
    files.write_npz(tmp_path / "a.npz", a=np.arange(1000))
    whole = (tmp_path / "a.npz").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text"):
        (tmp_path / "a.npz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.npz: not a readable \.npz"):
            files.read_npz(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.arange(3))
    with pytest.raises(UserError, match="not a readable"):
        files.read_npz(tmp_path / "b.npy")
    with pytest.raises(UserError, match="no such file"):
        files.read_npz(tmp_path / "c.npz")


def test_array_hashes_see_values_shape_and_type_and_not_the_memory_layout():
    a = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert files.array_hash(a) == files.array_hash(np.asfortranarray(a)) == files.array_hash(a.copy())
    others = [a + 1, a.T, a.ravel(), a.astype(np.int64), np.concatenate([a, a])]
    assert len({files.array_hash(b) for b in [a, *others]}) == 6
    assert files.array_hash(a, a) != files.array_hash(a)


def test_file_hash_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # the standard's own example
    assert files.file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_secret_is_made_once_and_is_for_its_owner_only(tmp_path):
    path = tmp_path / "noise.key"
    text = files.secret(path)
    assert len(text) == 32
    assert text == files.secret(path)
    assert text != files.secret(tmp_path / "other.key")
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_empty_secret_is_refused(tmp_path):
    (tmp_path / "noise.key").write_text("\n")
    with pytest.raises(UserError, match="it is empty; a secret was expected"):
        files.secret(tmp_path / "noise.key")
