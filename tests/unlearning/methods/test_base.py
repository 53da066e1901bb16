"""Rows, names and the checks that every method makes before it starts."""

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data.pixel_file import PixelFile
from tfpdu.data.storage import ImageStore
from tfpdu.unlearning import METHODS
from tfpdu.unlearning.methods import Examples, Method, NoSettings, concatenate, find
from tfpdu.unlearning.methods.gradient_ascent import GradientAscentSettings


def keep(model, forget, retain: Examples, settings, seed):
    """Does nothing."""
    return model


def rows(n=3, name="r", dtype=np.uint8):
    return Examples(np.ones((n, 2, 2, 1), dtype), np.arange(n) % 3, np.array([f"{name}{i}" for i in range(n)]))


def test_every_name_finds_its_method_and_near_misses_are_named():
    assert all(find(name) is METHODS[name] for name in METHODS)
    with pytest.raises(UserError, match="did you mean 'salun'"):
        find("salum")


def test_ones_own_is_found_by_package_and_name():
    method = find(f"{__name__}:keep")
    assert (method.citation, method.needs_retain, method.settings) == ("Does nothing.", True, NoSettings)
    assert find("tfpdu.unlearning.methods:AMUN") is METHODS["amun"]
    assert isinstance(method, Method)


@pytest.mark.parametrize("name", ["no_such_package:x", f"{__name__}:nothing", ":x", f"{__name__}:__doc__"])
def test_what_cannot_be_imported_or_called_is_refused_in_one_line(name):
    with pytest.raises(UserError, match="expected") as error:
        find(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (dict(images=np.ones((2, 2, 2, 1), np.uint8)), "2 images, 3 labels"),
        (dict(images=np.ones((3, 2, 2, 1))), "uint8 or float32"),
        (dict(images=np.ones((3, 2, 2), np.uint8)), "uint8 or float32"),
        (dict(labels=np.zeros(3)), "labels must be int"),
        (dict(ids=np.array(["a", "b", "a"])), "'a' occurs more than once"),
    ],
)
def test_rows_that_do_not_fit_together_are_refused(changes, what):
    whole = {"images": rows().images, "labels": rows().labels, "ids": rows().ids}
    with pytest.raises(UserError, match=what):
        Examples(**{**whole, **changes})


def test_parts_are_put_together_as_floats_where_their_pixels_differ():
    same = concatenate([rows(2, "a"), rows(1, "b")])
    assert same.images.dtype == np.uint8
    assert same.ids.tolist() == ["a0", "a1", "b0"]
    mixed = concatenate([rows(2, "a"), rows(1, "b", np.float32)])
    assert mixed.images.dtype == np.float32
    assert mixed.labels.tolist() == [0, 1, 0]


def test_settings_of_another_method_are_refused(linear, pixels):
    with pytest.raises(UserError, match="fine_tune: settings must be FineTuneSettings, got GradientAscentSettings"):
        METHODS["fine_tune"].unlearn(linear, rows(), pixels, GradientAscentSettings())


def test_pictures_on_disk_are_forgotten_as_those_in_memory(linear, pixels, tmp_path):
    images = np.random.default_rng(0).integers(0, 9, (6, 2, 2, 1)).astype(np.uint8)
    file = PixelFile(tmp_path, images.shape)
    file.path.write_bytes(images.tobytes())
    results = []
    for pictures in (images, ImageStore([file])):
        whole = Examples(pictures, np.arange(6) % 3, np.array([f"p{i}" for i in range(6)]))
        parts = whole.take(np.arange(2)), whole.take(np.arange(2, 6))
        settings = METHODS["random_labels"].settings(epochs=1, order="mixed")
        results.append(METHODS["random_labels"].unlearn(linear, *parts, settings).get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))
