"""The real data sets; and what is said where they are not."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data import DrawSettings, PoolSizes, cut_pools, draw, load
from tfpdu.data import tfds_directory as tfds_directory_module

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture(scope="module")
def cifar10(tfds_directory):
    return load("cifar10", directory=tfds_directory)


@pytest.fixture(scope="module")
def celeb_a(tfds_directory):
    return load("celeb_a", directory=tfds_directory)


@pytest.fixture(scope="module")
def pools(cifar10):
    return cut_pools(cifar10, PoolSizes(10_000, 2_000, 4_000, 4_000, 30_000, "official"), 0)


def test_cifar10_is_whole_and_known(cifar10):
    assert cifar10.images.shape == (60_000, 32, 32, 3)
    assert cifar10.label_names == CLASSES
    test = np.char.startswith(cifar10.ids, "cifar10/test/")
    assert np.bincount(cifar10.labels[test]).tolist() == [1000] * 10
    assert np.bincount(cifar10.labels[~test]).tolist() == [5000] * 10
    assert {"cifar10/train/00000", "cifar10/train/49999", "cifar10/test/09999"} <= set(cifar10.ids.tolist())
    # The published channel means of the training images; a fast JPEG transform would be off by 1/255 = 0.0039.
    means = cifar10.images[~test].mean((0, 1, 2)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.001)


def test_cifar10_has_six_animals_and_four_vehicles(cifar10):
    vehicle = cifar10.column("superclass") == 1
    assert {CLASSES[label] for label in np.unique(cifar10.labels[vehicle])} == {
        "airplane",
        "automobile",
        "ship",
        "truck",
    }
    assert vehicle.sum() == 24_000


def test_cifar10_pools_are_those_of_the_design(pools):
    assert np.bincount(pools.private.labels).tolist() == [1000] * 10
    assert np.bincount(pools.non_members_calibration.labels).tolist() == [200] * 10
    assert np.bincount(pools.non_members_evaluation.labels).tolist() == [400] * 10
    assert np.bincount(pools.auxiliary.labels).tolist() == [400] * 10
    assert np.bincount(pools.public.labels).tolist() == [3000] * 10
    assert len(pools.test) == 10_000
    assert len({row_id for ids in pools.ids().values() for row_id in ids}) == 60_000


def test_the_papers_draws_can_be_made(pools):
    imbalanced = draw(pools.private, DrawSettings(4000, shares={"superclass": {"animal": 0.2, "vehicle": 0.8}}), 0)
    assert np.bincount(imbalanced.column("superclass")).tolist() == [800, 3200]
    assert np.bincount(imbalanced.labels)[[0, 1, 8, 9]].tolist() == [800] * 4
    plain = draw(pools.private, DrawSettings(5000, counts={"superclass": {"animal": 2959, "vehicle": 2041}}), 0)
    assert np.bincount(plain.column("superclass")).tolist() == [2959, 2041]
    with pytest.raises(UserError, match="4800 rows with superclass=vehicle wanted, the pool has 4000"):
        draw(pools.private, DrawSettings(6000, shares={"superclass": {"animal": 0.2, "vehicle": 0.8}}), 0)


def test_celeb_a_has_faces_people_and_the_official_partition(celeb_a):
    assert celeb_a.images.shape[1:] == (64, 64, 3)
    assert celeb_a.label_names == ("not Smiling", "Smiling")
    assert [spec.values for spec in celeb_a.specs] == [("not Young", "Young"), ("not Male", "Male")]
    assert {row_id.split("/")[1] for row_id in celeb_a.ids} == {"train", "validation", "test"}
    # Shares in all of CelebA: Smiling 48 %, Young 77 %, Male 42 %.
    assert celeb_a.labels.mean() == pytest.approx(0.48, abs=0.05)
    assert celeb_a.attributes.mean(0) == pytest.approx([0.77, 0.42], abs=0.05)
    assert 1 < len(set(celeb_a.subjects)) < len(celeb_a)


def test_celeb_a_is_upright_and_centred(celeb_a):
    # Faces are aligned: the mean face is lighter in its middle than at its rim, and left and right are alike.
    face = celeb_a.images.mean((0, 3))
    assert face[24:40, 24:40].mean() > face[:, :6].mean() + 10
    assert np.abs(face - face[:, ::-1]).mean() < 5
    assert np.corrcoef(face.ravel(), face[::-1].ravel())[0, 1] < np.corrcoef(face.ravel(), face[:, ::-1].ravel())[0, 1]


def test_celeb_a_takes_any_of_the_forty_as_target_and_attribute(tfds_directory):
    records = load("celeb_a", directory=tfds_directory, image_size=16, target="Male", attributes=("Eyeglasses",))
    assert records.label_names == ("not Male", "Male")
    assert [spec.name for spec in records.specs] == ["Eyeglasses"]
    with pytest.raises(UserError, match="unknown 'Smilling', did you mean 'Smiling'"):
        load("celeb_a", directory=tfds_directory, target="Smilling")


def test_nobody_in_celeb_a_is_in_two_pools(celeb_a):
    pools = cut_pools(celeb_a, PoolSizes(0.4, 0.1, 0.15, 0.15, 0.0, 0.2), 0)
    names = [name for name in pools.ids() if len(getattr(pools, name))]
    people = [set(getattr(pools, name).subjects.tolist()) for name in names]
    assert sum(map(len, people)) == len(set().union(*people))
    sizes = [len(getattr(pools, name)) / len(celeb_a) for name in names]
    assert sizes == pytest.approx([0.4, 0.1, 0.15, 0.15, 0.2], abs=0.005)
    smiling = [getattr(pools, name).labels.mean() for name in names]
    assert smiling == pytest.approx([celeb_a.labels.mean()] * 5, abs=0.05)


def test_reading_writes_nothing(tfds_directory, tmp_path):
    shutil.copytree(Path(tfds_directory, "celeb_a"), tmp_path / "celeb_a", copy_function=shutil.copyfile)

    def state():
        return {(str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}

    before = state()
    builder = tfds_directory_module.open_data_set("celeb_a", "2.1.0", "http://127.0.0.1:9", str(tmp_path))
    columns = tfds_directory_module.read_split(
        builder, "test", lambda row: {"identity": row["identity"]["Identity_No"]}
    )
    assert len(columns["identity"]) == builder.info.splits["test"].num_examples
    assert state() == before


@pytest.fixture
def nowhere(monkeypatch):
    """No network: all addresses go through a proxy that is not there."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", ["cifar10", "celeb_a"])
def test_a_missing_data_set_without_network_says_how_to_get_it(name, nowhere, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"could not be downloaded .*; set TFDS_DATA_DIR") as error:
        load(name)
    assert "\n" not in str(error.value)
    assert f"{name} " in str(error.value)
    assert str(tmp_path) in str(error.value)
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr() == ("", "")


def test_a_download_that_fails_says_why(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(self, **_):
        raise tfds.download.DownloadError("quota exceeded\nsee the log")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(tfds_directory_module, "_reach", lambda address: None)
    with pytest.raises(UserError, match=r"could not be downloaded \(quota exceeded\); set TFDS_DATA_DIR"):
        load("cifar10", directory=str(tmp_path))


def test_a_damaged_file_is_named_and_not_taken_for_data(tfds_directory, tmp_path):
    copy = tmp_path / "celeb_a/2.1.0"
    shutil.copytree(Path(tfds_directory, "celeb_a/2.1.0"), copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    record = copy / "celeb_a-train.tfrecord-00000-of-00004"
    record.write_bytes(record.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"split 'train' cannot be read"):
        load("celeb_a", directory=str(tmp_path), image_size=8)
    record.unlink()
    with pytest.raises(UserError, match=r"split 'train' cannot be read"):
        load("celeb_a", directory=str(tmp_path), image_size=8)
