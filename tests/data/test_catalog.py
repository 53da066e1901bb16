import subprocess
import sys

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.data import load

EMPTY = {"directory": "", "table": "", "label": "", "subject": "", "image_size": 0, "attributes": (), "target": ""}


def test_digits_come_with_the_package():
    records = load("digits")
    assert records.images.shape == (1797, 8, 8, 1)
    assert records.images.max() == 255
    assert records.label_names == tuple("0123456789")
    assert records.ids[1] == "digits/00001"
    assert records.is_original.all()
    # Facts of the data set: 178 zeros, 182 ones, ...
    assert np.bincount(records.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_have_parity_and_a_stroke_of_either_kind_in_every_class():
    records = load("digits")
    assert [spec.name for spec in records.specs] == ["parity", "stroke"]
    np.testing.assert_array_equal(records.column("parity"), records.labels % 2)
    thick = records.column("stroke")
    ink = records.images.astype(float).sum((1, 2, 3))
    assert ink[thick == 1].min() >= ink[thick == 0].max() - 64  # rounding to 0..255 moves a pixel by half at most
    assert 0.48 < thick.mean() < 0.52
    assert all(0.25 < thick[records.labels == digit].mean() < 0.75 for digit in range(10))


def test_attributes_are_taken_in_the_order_asked():
    records = load("digits", attributes=("stroke", "parity"))
    assert [spec.name for spec in records.specs] == ["stroke", "parity"]


def test_images_come_in_the_size_asked():
    small, large = load("digits", image_size=4), load("digits", image_size=16)
    assert small.images.shape == (1797, 4, 4, 1)
    assert large.images.shape == (1797, 16, 16, 1)
    blocks = load("digits").images.reshape(1797, 4, 2, 4, 2).mean((2, 4))
    assert np.abs(small.images[..., 0] - blocks).max() <= 1  # the mean over areas, rounded in each direction


def test_options_of_other_sources_may_be_empty_but_not_given(tmp_path):
    assert len(load("digits", **EMPTY, problems=tmp_path / "problems.csv")) == 1797
    with pytest.raises(UserError, match=r"config\.data\.target: digits has no such option"):
        load("digits", **{**EMPTY, "target": "Smiling"})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "unknown 'digit', did you mean 'digits'"),
        ("digits", {"attributes": ("partiy",)}, "unknown 'partiy', did you mean 'parity'"),
        ("digits", {"imagesize": 8}, "unknown option 'imagesize', did you mean 'image_size'"),
        ("digits", {"image_size": -1}, "image_size"),
        ("cifar10", {"attributes": ("superclas",)}, "did you mean 'superclass'"),
        ("cifar10", {"directory": "/no/such/place"}, "no such directory"),
        ("npz", {}, "needs the path"),
        ("npz", {"directory": "/no/such.npz"}, "no such file"),
        ("image_folder", {"directory": "/no/such/place"}, "no such directory"),
    ],
)
def test_bad_input_is_one_line_that_names_the_option(name, options, message):
    with pytest.raises(UserError, match=message) as error:
        load(name, **options)
    assert "\n" not in str(error.value)


def test_importing_the_room_does_not_load_tensorflow():
    code = "import sys, tfpdu.data; sys.exit('tensorflow' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
