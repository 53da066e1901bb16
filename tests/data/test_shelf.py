"""A store is made once, whole or not at all; loaders give the same table from disk as from memory."""

import errno
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tfpdu.common import StopRequested, UserError, interrupt
from tfpdu.data import ImageStore, catalog, celeb_a, load, npz
from tfpdu.data import shelf as shelf_module
from tfpdu.data.shelf import Shelf, default_cache

SHAPE = (10, 4, 4, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
SOURCE = {"name": "test", "version": 1}


def reader(log=None):
    """Reads the pictures, and a note of them, in three parts; `log` counts how often."""

    def read(pictures):
        if pictures.wanted:
            if log is not None:
                log.append(1)
            for part in np.array_split(IMAGES, 3):
                pictures.append(part)
            pictures.notes["found"] = {"7": "odd"}
        return pictures.notes["found"]

    return read


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_the_size_decides_between_memory_and_disk(tmp_path):
    gb = IMAGES.nbytes / 2**30
    images, notes = Shelf(tmp_path / "cache", gb).fill(SOURCE, SHAPE, reader())
    assert isinstance(images, np.ndarray)
    assert not (tmp_path / "cache").exists()
    store, stored_notes = Shelf(tmp_path / "cache", gb * 0.999).fill(SOURCE, SHAPE, reader())
    assert isinstance(store, ImageStore)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(store[:], IMAGES)
    assert notes == stored_notes == {"7": "odd"}


def test_a_store_is_made_once_for_each_source(tmp_path, capsys):
    log, shelf = [], Shelf(tmp_path, 0)
    for _ in range(2):
        store, notes = shelf.fill(SOURCE, SHAPE, reader(log))
        np.testing.assert_array_equal(store[:], IMAGES)
        assert notes == {"7": "odd"}
    assert len(log) == 1
    assert capsys.readouterr().err.count("GB of pictures go to") == 1
    shelf.fill({**SOURCE, "version": 2}, SHAPE, reader(log))
    assert len(log) == 2
    assert len(names(tmp_path)) == 2


def test_what_fails_or_is_stopped_leaves_nothing(tmp_path):
    def failing(pictures):
        pictures.append(IMAGES[:4])
        raise ValueError

    def stopped(pictures):
        os.kill(os.getpid(), signal.SIGTERM)
        pictures.append(IMAGES)

    for read, error in ((failing, ValueError), (stopped, StopRequested)):
        with interrupt.deferred(), pytest.raises(error):
            Shelf(tmp_path, 0).fill(SOURCE, SHAPE, read)
        assert names(tmp_path) == []


KILLED = """
import numpy as np, os, signal, sys
from pathlib import Path
from tfpdu.data.shelf import Shelf
def read(pictures):
    pictures.append(np.zeros((5, 4, 4, 3), np.uint8))
    print("half", flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.readline()
    pictures.append(np.ones((5, 4, 4, 3), np.uint8))
Shelf(Path(sys.argv[1]), 0).fill({"name": "test", "version": 1}, (10, 4, 4, 3), read)
"""


def test_killed_in_the_middle_it_is_made_anew(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "kill"], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [name.rpartition(".")[2] for name in names(tmp_path)] == ["partial"]
    store, _ = Shelf(tmp_path, 0).fill(SOURCE, SHAPE, reader())
    np.testing.assert_array_equal(store[:], IMAGES)
    assert len(names(tmp_path)) == 1


def test_another_process_that_makes_it_is_waited_for(tmp_path, capsys):
    other = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path), "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"half\n"
    said = shelf_module.say
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shelf_module, "say", lambda text: (said(text), other.stdin.write(b"\n"), other.stdin.flush()))
            store, _ = Shelf(tmp_path, 0).fill(SOURCE, SHAPE, lambda pictures: pictures.wanted)
    finally:
        other.communicate()
    assert "waiting for another process" in capsys.readouterr().err
    assert store[:].tolist() == [[[[int(row > 4)] * 3] * 4] * 4 for row in range(10)]


def test_a_damaged_store_is_made_anew_and_a_touched_one_is_not(tmp_path, capsys):
    log, shelf = [], Shelf(tmp_path, 0)
    store, _ = shelf.fill(SOURCE, SHAPE, reader(log))
    path = store.sources[0].path
    os.utime(path, (1, 1))
    shelf.fill(SOURCE, SHAPE, reader(log))
    assert len(log) == 1
    path.write_bytes(bytes(IMAGES.nbytes))
    store, _ = shelf.fill(SOURCE, SHAPE, reader(log))
    assert len(log) == 2
    np.testing.assert_array_equal(store[:], IMAGES)
    assert "are damaged; making it anew" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for target, name in ((os, "pwrite"), (os, "fsync"), (shelf_module, "_require_room")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, full)
            with pytest.raises(UserError, match=r"the disk is full, 0\.00 GB are needed") as error:
                Shelf(tmp_path, 0).fill(SOURCE, SHAPE, reader())
        assert str(error.value).startswith(f"config.data.cache={tmp_path}: ")
        assert names(tmp_path) == []


def test_too_little_room_is_said_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r"the disk is full, 8388608\.00 GB are needed"):
        Shelf(tmp_path, 0).fill(SOURCE, (2**53, 1, 1, 1), lambda pictures: pytest.fail("read"))


def test_a_cache_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"config\.data\.cache=.*: is a file, expected a directory"):
            Shelf(folder, 0).fill(SOURCE, SHAPE, reader())


def test_pictures_of_another_shape_are_a_fault_of_the_loader(tmp_path):
    for wrong in (IMAGES[:, :3], IMAGES.astype(float), np.concatenate([IMAGES, IMAGES])):
        with pytest.raises(ValueError, match="expected uint8"):
            Shelf(tmp_path, 0).fill(SOURCE, SHAPE, lambda pictures, wrong=wrong: pictures.append(wrong))


def test_the_default_cache_is_named_by_the_environment(monkeypatch):
    monkeypatch.setenv("TFPDU_CACHE", "/some/where")
    assert str(default_cache()) == "/some/where"
    monkeypatch.delenv("TFPDU_CACHE")
    assert default_cache().parts[-2:] == (".cache", "tfpdu")


# ---- loaders -------------------------------------------------------------------------------------


def same(there, here):
    assert isinstance(there.images, ImageStore)
    assert isinstance(here.images, np.ndarray)
    for field in ("labels", "attributes", "ids", "origin", "subjects"):
        one, other = getattr(there, field), getattr(here, field)
        assert (one is None and other is None) or np.array_equal(one, other), field
    assert (there.specs, there.label_names) == (here.specs, here.label_names)
    np.testing.assert_array_equal(there.images[:], here.images)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "set.npz"

    def write(save=np.savez, **changes):
        arrays = {"images": IMAGES, "labels": np.arange(10) % 2, "subjects": np.array(list("aabbccddee"))}
        save(path, **{**arrays, **changes})
        return str(path)

    return write


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "images", [IMAGES, IMAGES[..., 0], np.asfortranarray(IMAGES)], ids=["colour", "grey", "columns first"]
)
def test_npz_from_disk_is_npz_from_memory(archive, tmp_path, monkeypatch, save, images):
    monkeypatch.setattr(npz, "BLOCK_BYTES", 100)
    path = archive(save, images=images)
    for size in (0, 2):
        here = load("npz", directory=path, image_size=size)
        same(load("npz", directory=path, image_size=size, in_memory_gb=0, home=tmp_path / "run"), here)
        if not size:
            np.testing.assert_array_equal(here.images, images.reshape(here.images.shape))


def test_a_changed_npz_is_read_anew(archive, tmp_path):
    options = {"in_memory_gb": 0, "cache": tmp_path / "cache"}
    load("npz", directory=archive(), **options)
    path = archive(images=255 - IMAGES)
    os.utime(path, (time.time() + 5,) * 2)
    np.testing.assert_array_equal(load("npz", directory=path, **options).images[:], 255 - IMAGES)


def test_a_damaged_npz_is_one_line_and_leaves_no_store(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "BLOCK_BYTES", 4096)
    path = archive(images=np.resize(IMAGES, (2000, 4, 4, 3)), labels=np.arange(2000) % 2, subjects=np.full(2000, "a"))
    with open(path, "rb+") as file:  # far into the images; their checksum is read last
        file.seek(60_000)
        file.write(bytes(100))
    with pytest.raises(UserError, match=r"not a readable \.npz file"):
        load("npz", directory=path, in_memory_gb=0, cache=tmp_path / "cache")
    assert names(tmp_path / "cache") == []


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for row in range(6):
        Image.fromarray(IMAGES[row]).save(root / f"{row}.png")
    (root / "3.png").write_bytes(b"no picture")
    rows = [f"{row}.png,{'cat' if row % 2 else 'dog'},{'a' if row < 3 else 'b'}" for row in range(6)]
    (root / "table.csv").write_text("\n".join(["file,label,place", *rows, "9.png,cat,a"]) + "\n")
    return root


def test_an_image_folder_from_disk_is_that_from_memory_with_its_faults(folder, tmp_path):
    here = load("image_folder", directory=str(folder), image_size=4, problems=tmp_path / "a.csv")
    np.testing.assert_array_equal(here.images, IMAGES[[0, 1, 2, 4, 5]])
    options = {"directory": str(folder), "image_size": 4, "in_memory_gb": 0, "home": tmp_path / "run"}
    for _ in range(2):  # made, then found
        (tmp_path / "b.csv").unlink(missing_ok=True)
        same(load("image_folder", **options, problems=tmp_path / "b.csv"), here)
        assert (tmp_path / "b.csv").read_text() == (tmp_path / "a.csv").read_text()
    Image.fromarray(IMAGES[3]).save(folder / "3.png")
    assert len(load("image_folder", **options, problems=tmp_path / "b.csv")) == 6
    assert len(names(tmp_path / "run")) == 2


def test_ones_own_pictures_are_not_put_into_the_shared_cache(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("TFPDU_CACHE", str(tmp_path / "shared"))
    load("npz", directory=archive(), in_memory_gb=0, home=tmp_path / "run")
    load("npz", directory=archive(), in_memory_gb=0)
    assert not (tmp_path / "shared").exists()
    assert catalog._cache("npz", tmp_path / "named", tmp_path / "run") == tmp_path / "named"
    assert catalog._cache("cifar10", "", tmp_path / "run") == tmp_path / "shared"


def test_a_temporary_cache_ends_with_the_process(archive, tmp_path):
    code = (
        "import sys; from tfpdu.data import load;"
        "print(load('npz', directory=sys.argv[1], in_memory_gb=0).images.sources[0].path)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, archive()], capture_output=True, text=True, env=environment)
    assert done.stdout.startswith(str(tmp_path))
    assert not os.path.exists(done.stdout.strip())
    assert names(tmp_path) == ["set.npz"]


def test_celeb_a_from_disk_is_celeb_a_from_memory(tfds_directory, tmp_path, monkeypatch):
    monkeypatch.setattr(celeb_a, "SPLITS", ("test",))
    same_from_tfds("celeb_a", 16, tfds_directory, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("celeb_a", 32), ("cifar10", 8), ("cifar10", 0)])
def test_a_whole_tfds_data_set_from_disk_is_that_from_memory(name, size, tfds_directory, tmp_path, monkeypatch):
    same_from_tfds(name, size, tfds_directory, tmp_path, monkeypatch)


def same_from_tfds(name, size, directory, cache, monkeypatch):
    options = {"directory": directory, "image_size": size, "cache": cache}
    here = load(name, **options)
    same(load(name, **options, in_memory_gb=0), here)
    monkeypatch.setattr(shelf_module, "_make", None)  # made once
    same(load(name, **options, in_memory_gb=0), here)


def test_a_limit_below_zero_is_refused():
    with pytest.raises(UserError, match=r"config\.data\.in_memory_gb: expected a number of at least 0"):
        load("digits", in_memory_gb=-1)
