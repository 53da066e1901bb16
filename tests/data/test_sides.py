"""The two sides of an audit: from files, folders and TFDS, brought to one coding, and kept apart."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from tfpdu.common import UserError
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.data.sides import SideOptions, aligned, read_side, same_pictures
from tfpdu.data.tfds_directory import stored_builder


def both(members, nonmembers, classes=0):
    return aligned({"--members": members, "--nonmembers": nonmembers}, classes)


def side(n=4, prefix="npz", seed=0, names=("0", "1"), **changes):
    rng = np.random.default_rng(seed)
    table = Records(
        images=rng.integers(0, 256, (n, 5, 5, 1), np.uint8),
        labels=(np.arange(n) % len(names)).astype(np.int32),
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{prefix}/{i:06d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=names,
    )
    return dataclasses.replace(table, **changes)


def test_classes_of_either_side_get_one_order_and_labels_follow():
    members, nonmembers = both(side(names=("cat", "dog")), side(seed=1, names=("ant", "dog")))
    assert members.label_names == nonmembers.label_names == ("ant", "cat", "dog")
    assert members.labels.tolist() == [1, 2, 1, 2]
    assert nonmembers.labels.tolist() == [0, 2, 0, 2]


def test_numbered_classes_are_filled_up_to_the_models():
    members, nonmembers = both(side(), side(seed=1, names=("0", "1", "2")), classes=12)
    assert members.label_names == nonmembers.label_names == tuple(map(str, range(12)))
    assert members.labels.tolist() == [0, 1, 0, 1]
    with pytest.raises(UserError, match="it has 2 classes, the rows have 3"):
        both(side(), side(seed=1, names=("0", "1", "2")), classes=2)


def test_attributes_of_both_are_kept_and_recoded():
    spec, other = AttributeSpec("tint", ("dark", "light")), AttributeSpec("tint", ("light", "red"))
    more = AttributeSpec("age", ("young", "old"))
    codes = np.array([[0, 0], [1, 1], [-1, 0], [1, 1]], np.int8)
    first = side(attributes=codes, specs=(spec, more))
    second = side(seed=1, attributes=codes[:, :1], specs=(other,))
    members, nonmembers = both(first, second)
    assert members.specs == nonmembers.specs == (AttributeSpec("tint", ("dark", "light", "red")),)
    assert members.column("tint").tolist() == [0, 1, -1, 1]
    assert nonmembers.column("tint").tolist() == [1, 2, -1, 2]


def test_rows_that_sources_number_get_the_sides_name_and_own_ids_stay():
    members, nonmembers = both(side(), side(seed=1))
    assert members.ids[0] == "members/npz/000000"
    assert nonmembers.ids[0] == "nonmembers/npz/000000"
    members, nonmembers = both(side(prefix="mine"), side(prefix="mine", seed=1))
    assert members.ids[0] == nonmembers.ids[0] == "mine/000000"  # which the audit will refuse


def test_pictures_on_both_sides_are_found_and_sizes_compared():
    first, second = side(seed=0), side(n=6, seed=1)
    second.images[4] = first.images[2]
    here, there = same_pictures(first, second)
    assert here.tolist() == [False, False, True, False]
    assert np.flatnonzero(there).tolist() == [4]
    with pytest.raises(UserError, match="--nonmembers: pictures are 7x5x1, those of --members 5x5x1"):
        both(first, side(images=np.zeros((4, 7, 5, 1), np.uint8)))


def test_an_npz_and_a_folder_are_read_by_their_loaders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", images=np.zeros((6, 4, 4, 3), np.uint8), labels=np.arange(6) % 3)
    assert read_side("rows.npz", "--members").images.shape == (6, 4, 4, 3)
    (tmp_path / "photos").mkdir()
    lines = ["file,kind,tint"]
    for i in range(4):
        Image.fromarray(np.full((9, 9, 3), 40 * i, np.uint8)).save(tmp_path / "photos" / f"{i}.png")
        lines.append(f"{i}.png,{'ab'[i % 2]},{'xy'[i // 2]}")
    (tmp_path / "photos" / "table.csv").write_text("\n".join(lines) + "\n")
    rows = read_side("photos", "--members", SideOptions(image_size=8, label="kind"))
    assert rows.images.shape == (4, 8, 8, 3)
    assert rows.label_names == ("a", "b")
    assert [spec.name for spec in rows.specs] == ["tint"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rows.csv", "not an .npz file; expected"),
        ("nowhere", "no such folder"),
        ("none.npz", "no such file"),
        ("mnits:train", "no data set 'mnits'"),
        ("text.npz", "not a readable .npz"),
        ("single.npz", "'label' has only the value '0'; at least two are needed"),
        ("unlabelled.npz", "holds no array 'labels'"),
    ],
)
def test_what_is_no_source_is_refused_with_its_flag(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.npz").write_text("no archive")
    np.savez("single.npz", images=np.zeros((3, 4, 4, 3), np.uint8), labels=np.zeros(3, int))
    np.savez("unlabelled.npz", images=np.zeros((3, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=words) as error:
        read_side(text, "--members", SideOptions(directory=str(tmp_path)))
    assert str(error.value).startswith(f"--members={text}: ")


def test_a_cut_split_of_tfds_is_read_and_another_one_refused(tfds_directory):
    options = SideOptions(directory=tfds_directory)
    rows = read_side("cifar10:test[:30]", "--members", options)
    assert rows.images.shape == (30, 32, 32, 3)
    assert rows.label_names[0] == "airplane"
    assert rows.ids[7] == "cifar10/test[:30]/0000007"
    assert rows.images.std() > 20
    with pytest.raises(UserError, match="no split 'tset'; cifar10 has"):
        read_side("cifar10:tset", "--members", options)
    with pytest.raises(UserError, match="celeb_a has no feature 'label'"):
        read_side("celeb_a:test", "--members", options)
    with pytest.raises(UserError, match="set TFDS_DATA_DIR"):
        stored_builder("mnist", tfds_directory)
