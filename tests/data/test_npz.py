import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data import load


@pytest.fixture
def save(tmp_path):
    """Writes a good file with some arrays replaced (None: left out); returns its path."""

    def write(**changes):
        arrays = {
            "images": np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8),
            "labels": np.array([0, 1, 2, 0, 1, 2]),
            "names": np.array(["cat", "dog", "eel"]),
            "ids": np.array([f"mine/{row}" for row in range(6)]),
            "subjects": np.array(["ann", "ann", "bob", "", "cy", "cy"]),
            "attributes": np.array([[0, 1], [1, 0], [-1, 1], [0, 0], [1, 1], [0, 1]]),
            "attribute_names": np.array(["fur", "size"]),
        }
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        np.savez(tmp_path / "set.npz", **arrays)
        return str(tmp_path / "set.npz"), arrays

    return write


def test_all_arrays_arrive(save):
    path, arrays = save()
    records = load("npz", directory=path)
    np.testing.assert_array_equal(records.images, arrays["images"])
    np.testing.assert_array_equal(records.attributes, arrays["attributes"])
    assert records.labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert records.label_names == ("cat", "dog", "eel")
    assert records.ids.tolist() == arrays["ids"].tolist()
    assert records.subjects.tolist() == arrays["subjects"].tolist()


def test_images_and_labels_are_enough(save):
    path, _ = save(names=None, ids=None, subjects=None, attributes=None, attribute_names=None)
    records = load("npz", directory=path)
    assert records.label_names == ("0", "1", "2")
    assert records.ids[5] == "npz/000005"
    assert records.subjects is None
    assert records.attributes.shape == (6, 0)


def test_grey_images_may_come_without_a_channel_axis(save):
    path, arrays = save(images=np.arange(96, dtype=np.uint8).reshape(6, 4, 4))
    np.testing.assert_array_equal(load("npz", directory=path).images[..., 0], arrays["images"])


def test_attributes_may_be_texts_and_chosen(save):
    texts = np.array([["red", "s"], ["blue", "m"], ["", "s"], ["red", "m"], ["red", "s"], ["blue", "s"]])
    records = load("npz", directory=save(attributes=texts)[0], attributes=("fur",))
    assert records.specs[0].values == ("blue", "red")
    assert records.attributes[:, 0].tolist() == [1, 0, -1, 1, 1, 0]
    assert len(records.specs) == 1


def _with_nan():
    images = np.zeros((6, 4, 4, 3), np.float32)
    images[4, 1, 2, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": _with_nan()}, "images, row 4: holds NaN"),
        ({"images": np.zeros((6, 4, 4, 3), np.float32)}, "images are float32, expected uint8"),
        ({"images": np.zeros((6, 4, 4, 2), np.uint8)}, r"shape \[6, 4, 4, 2\]"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, r"shape \[0, 4, 4, 3\]"),
        ({"images": None}, "holds no array 'images'"),
        ({"labels": np.array([0, 1, 2, 0, 1, 3])}, "labels, row 5: 3, expected a number from 0 to 2"),
        ({"labels": np.array([0, -1, 2, 0, 1, 2])}, "labels, row 1: -1"),
        ({"labels": np.arange(5)}, r"labels has shape \[5\], expected 6 rows"),
        ({"labels": np.zeros(6)}, "labels are float64"),
        ({"labels": np.zeros(6, int)}, "'label' has only the value 'cat'"),
        ({"ids": np.array(["a", "b", "c", "a", "d", "e"])}, "'a' occurs more than once"),
        ({"attribute_names": np.array(["fur"])}, "1 names, attributes has 2 columns"),
        ({"attributes": np.full((6, 2), -2)}, "attribute 'fur', row 0: code -2"),
        ({"attributes": np.full((6, 2), 1)}, "'fur' has only the value '1'"),
        ({"attributes": np.full((6, 2), -1)}, "'fur' has no known value"),
        ({"attributes": np.full((6, 2), 0.5)}, "attributes are float64"),
    ],
)
def test_bad_arrays_are_refused_in_one_line_that_names_file_and_row(save, changes, message):
    path, _ = save(**changes)
    with pytest.raises(UserError, match=message) as error:
        load("npz", directory=path)
    assert "\n" not in str(error.value)


def test_nothing_is_unpickled(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.array([{"a": 1}], object), labels=np.zeros(1, int))
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load("npz", directory=str(tmp_path / "set.npz"))


def test_a_file_that_is_no_npz_is_refused(tmp_path):
    (tmp_path / "set.npz").write_text("images")
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load("npz", directory=str(tmp_path / "set.npz"))
