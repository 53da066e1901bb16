"""Pictures on disk answer as an array does, are read row by row, and can be erased."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError, files
from tfpdu.data import ImageStore, PoolSizes, concatenate, cut_pools, storage
from tfpdu.data import pixel_file as pixel_file_module
from tfpdu.data.pixel_file import PixelFile
from tfpdu.data.storage import joined, pick, stretch


def pixels(n=23, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 5, 4, 3), dtype=np.uint8)


def stored(folder, images):
    """A store of these pictures."""
    folder.mkdir(parents=True)
    file = PixelFile(folder, images.shape)
    file.path.write_bytes(images.tobytes())
    file.seal({"name": "test"}, {})
    return ImageStore([PixelFile.opened(folder)[0]])


@pytest.fixture
def small_blocks(monkeypatch):
    """Four pictures a block, so that a small table has several."""
    monkeypatch.setattr(pixel_file_module, "BLOCK_BYTES", 4 * 5 * 4 * 3)
    monkeypatch.setattr(files, "HASH_BYTES", 4 * 5 * 4 * 3)


INDICES = [
    0,
    -1,
    np.int64(7),
    slice(None),
    slice(3, 9),
    slice(20, 100),
    slice(None, None, -2),
    slice(5, 5),
    [4, 4, 2],
    np.array([22, 0, 1, 2, -3]),
    np.array([], int),
    np.array([[1, 2], [3, 3]]),
    np.arange(23) % 3 == 0,
    (slice(2, 6), slice(None), slice(None, None, -1)),
    (3, 2, 1),
    (np.array([5, 1]), 0),
    (Ellipsis,),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_every_index_gives_what_an_array_gives(tmp_path, index):
    images = pixels()
    mixed = joined([stored(tmp_path / "a", images[:9]), images[9:12], stored(tmp_path / "b", images[12:])])
    for store in (stored(tmp_path / "whole", images), mixed):
        found = store[index]
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, images[index])


def test_an_index_out_of_range_is_refused_as_by_an_array(tmp_path):
    store = stored(tmp_path / "a", pixels())
    for index in (23, -24, np.array([0, 23])):
        with pytest.raises(IndexError):
            store[index]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chain_of_choosing_and_joining_gives_what_arrays_give(tmp_path_factory, data):
    folder, images = tmp_path_factory.mktemp("stores"), pixels(40)
    pairs = [(stored(folder / "a", images[:15]), images[:15]), (images[15:25], images[15:25])]
    pairs.append((stored(folder / "b", images[25:]), images[25:]))
    for _ in range(data.draw(st.integers(1, 6))):
        one, other = (pairs[data.draw(st.integers(0, len(pairs) - 1))] for _ in range(2))
        if data.draw(st.booleans()):
            pairs.append((joined([one[0], other[0]]), np.concatenate([one[1], other[1]])))
        else:
            rows = np.array(data.draw(st.lists(st.integers(0, max(len(one[1]) - 1, 0)), max_size=12)), int)
            rows = rows if len(one[1]) else rows[:0]
            pairs.append((pick(one[0], rows), one[1][rows]))
    for found, expected in pairs:
        assert found.shape == expected.shape
        np.testing.assert_array_equal(found[:], expected)


def test_choosing_reads_nothing(tmp_path, monkeypatch):
    store = stored(tmp_path / "a", pixels())
    monkeypatch.setattr(PixelFile, "read", None)  # any call fails
    chosen = joined([pick(store, np.arange(23) > 4), pixels(3)]).take(np.array([20, 1, 1]))
    assert chosen.shape == (3, 5, 4, 3)
    assert stretch(chosen, 1, 9).shape == (2, 5, 4, 3)


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    store = stored(tmp_path / "a", pixels())
    counts = []
    read = pixel_file_module._read_into

    def counted(handle, view, offset):
        counts.append(len(view))
        read(handle, view, offset)

    monkeypatch.setattr(pixel_file_module, "_read_into", counted)
    store[np.array([3, 4, 5, 11])]
    assert counts == [3 * 60, 60]  # a stretch of rows at once


def test_rows_that_are_all_in_memory_become_an_array_and_unused_arrays_are_let_go(tmp_path):
    store, images = stored(tmp_path / "a", pixels()), pixels(6, seed=1)
    both = joined([store, images])
    assert isinstance(both.take(np.array([25, 24])), np.ndarray)
    np.testing.assert_array_equal(both.take(np.array([25, 24])), images[[2, 1]])
    assert isinstance(both.take(np.array([], int)), np.ndarray)
    assert all(source is not images for source in both.take(np.arange(23)).sources)
    assert len(joined([store, store.take(np.arange(4)), images, images]).sources) == 2


def test_a_large_store_does_not_become_an_array_by_accident(tmp_path, monkeypatch):
    images = pixels()
    store = stored(tmp_path / "a", images)
    np.testing.assert_array_equal(np.asarray(store), images)
    assert np.asarray(store, np.float32).dtype == np.float32
    monkeypatch.setattr(storage, "WHOLE_BYTES", store.nbytes - 1)
    for accident in (np.asarray, np.array, np.ascontiguousarray, lambda s: np.concatenate([s, images])):
        with pytest.raises(UserError, match=r"raise --config\.data\.in_memory_gb"):
            accident(store)
    np.testing.assert_array_equal(store[:], images)


def test_pictures_come_one_by_one(tmp_path, small_blocks):
    images = pixels()
    for found, expected in zip(stored(tmp_path / "a", images), images, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_hash_of_a_store_is_that_of_the_array(tmp_path, small_blocks):
    images = pixels()
    store = stored(tmp_path / "a", images)
    order = np.random.default_rng(3).permutation(23)[:17]
    assert files.array_hash(store, images) == files.array_hash(images, images)
    assert files.array_hash(store.take(order)) == files.array_hash(images[order])


def test_a_store_can_be_sent_to_another_process(tmp_path):
    images = pixels()
    chosen = joined([stored(tmp_path / "a", images), pixels(2, seed=5)]).take(np.array([24, 3, 8]))
    sent = pickle.dumps(chosen)
    assert len(sent) < 2000  # where the pictures are, not the pictures
    np.testing.assert_array_equal(pickle.loads(sent)[:], chosen[:])


def test_records_with_a_store_are_handled_as_those_with_an_array(tmp_path, make_records):
    records = make_records(subjects=np.array([f"p{i % 40}" for i in range(120)]))
    there = dataclasses.replace(records, images=stored(tmp_path / "a", records.images))

    def same(a, b):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.images[:], b.images)

    same(there.take(records.labels == 1), records.take(records.labels == 1))
    same(there.labelled_by("colour"), records.labelled_by("colour"))
    same(there.without(records.ids[:3]), records.without(records.ids[:3]))
    other = make_records(n=9, prefix="new", seed=4)
    same(concatenate([there, other]), concatenate([dataclasses.replace(records, subjects=None), other]))
    sizes = PoolSizes(0.5, 0.1, 0.1, 0.1, 0.1, 0.1)
    for name in ("private", "test"):
        one, another = (getattr(cut_pools(table, sizes, 0), name) for table in (there, records))
        assert isinstance(one.images, ImageStore)
        same(one, another)


# ---- erasing, damage -----------------------------------------------------------------------------


def test_erased_rows_are_gone_from_the_disk_and_the_others_are_not(tmp_path, small_blocks):
    images = pixels()
    store = stored(tmp_path / "run" / "cache" / "a", images)
    chosen = joined([pixels(2, seed=9), store.take(np.array([20, 4, 5, 11]))])
    chosen.erase(np.array([1, 2, 4]), tmp_path / "run")  # rows 20 and 5 of the file, and one in memory
    expected = images.copy()
    expected[[20, 5]] = 0
    np.testing.assert_array_equal(store[:], expected)
    content = store.sources[0].path.read_bytes()
    assert images[20].tobytes() not in content
    assert images[5].tobytes() not in content
    np.testing.assert_array_equal(chosen[0], pixels(2, seed=9)[0])
    store.sources[0].path.touch()  # so that the check reads every pixel
    PixelFile.opened(store.sources[0].folder)


def test_a_cache_outside_the_run_is_not_erased(tmp_path):
    images = pixels()
    (tmp_path / "run").mkdir()
    inside, outside = stored(tmp_path / "run" / "a", images[:9]), stored(tmp_path / "run-2" / "b", images[9:])
    with pytest.raises(UserError, match="not this run's to erase"):
        joined([inside, outside]).erase(np.array([0, 22]), tmp_path / "run")
    np.testing.assert_array_equal(joined([inside, outside])[:], images)


def test_a_store_fresh_from_its_source_is_rid_of_unwanted_rows_once(tmp_path):
    images, run, unwanted = pixels(), tmp_path / "run", np.arange(23) < 3
    store = stored(run / "a", images)
    store.settle(unwanted, tmp_path / "other")
    np.testing.assert_array_equal(store[:], images)
    store.settle(unwanted, run)
    assert not store[:3].any()
    np.testing.assert_array_equal(store[3:], images[3:])
    store.settle(~unwanted, run)  # it is known
    np.testing.assert_array_equal(store[3:], images[3:])
    assert PixelFile.opened(run / "a")[1] == {}


def test_killed_while_erasing_the_check_fails_until_it_is_done_again(tmp_path, monkeypatch):
    store = stored(tmp_path / "a", pixels())
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", _killed)
        with pytest.raises(RuntimeError):
            store.erase(np.array([4]), tmp_path)
    with pytest.raises(UserError, match="are damaged"):
        PixelFile.opened(tmp_path / "a")
    store.erase(np.array([4]), tmp_path)
    PixelFile.opened(tmp_path / "a")


def _killed(*_):
    raise RuntimeError


def test_a_changed_pixel_is_found_and_its_rows_are_named(tmp_path, small_blocks):
    file = stored(tmp_path / "a", pixels()).sources[0]
    content = bytearray(file.path.read_bytes())
    content[9 * 60] ^= 1
    file.path.write_bytes(content)
    with pytest.raises(UserError, match="rows from 8 on are damaged"):
        PixelFile.opened(tmp_path / "a")


@pytest.mark.parametrize("missing", ["end", "file"])
def test_a_file_cut_short_under_a_reader_is_one_line(tmp_path, missing):
    store = stored(tmp_path / "a", pixels())
    path = store.sources[0].path
    if missing == "end":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(UserError, match="rows cannot be read") as error:
        store[:]
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"1379 bytes, expected 1380|No such file"):
        PixelFile.opened(tmp_path / "a")


@pytest.mark.parametrize("about", ["{", "[]", '{"format": 1}', '{"format": 2}'])
def test_a_folder_that_is_no_store_is_one_line(tmp_path, about):
    stored(tmp_path / "a", pixels())
    (tmp_path / "a" / "store.json").write_text(about)
    with pytest.raises(UserError, match=r"store\.json|format 2, expected 1"):
        PixelFile.opened(tmp_path / "a")
