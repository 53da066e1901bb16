"""Twins: every near copy is found, under any name, mirrored or brighter, and nothing else."""

import dataclasses
import io
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.unlearning.ledgers import table
from tfpdu.common import StopRequested, UserError, interrupt
from tfpdu.data import concatenate
from tfpdu.data.digits import load_digits
from tfpdu.unlearning import twins
from tfpdu.unlearning.twins import Twin, near_duplicates

TABLE = dataclasses.replace(table(6, shape=(32, 32, 3)), subjects=None)


def beside(*images, records=TABLE):
    """The table and these pictures, under the names "twin/0", "twin/1", …"""
    extra = records.take(np.arange(len(images)))
    ids = np.array([f"twin/{i}" for i in range(len(images))])
    return concatenate([records, dataclasses.replace(extra, images=np.stack(images), ids=ids)])


def smooth(seed, size=32):
    """A soft picture in the middle of the range, like a photograph: uint8[size, size, 3]."""
    coarse = np.random.default_rng(seed).uniform(60, 180, (4, 4, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def test_a_copy_a_mirror_image_and_a_brighter_one_are_found_with_their_measures():
    image = np.clip(TABLE.images[2], 20, 200)
    records = beside(image, image, image[:, ::-1], image + 25)
    found = near_duplicates(records, ["twin/0"])
    assert found == (
        Twin("twin/0", "twin/1", 0.0, 0.0, False),
        Twin("twin/0", "twin/2", 0.0, 0.0, True),
        Twin("twin/0", "twin/3", 0.0, pytest.approx(25 / 255), False),
    )
    assert [twin.exact for twin in found] == [True, False, False]
    assert near_duplicates(records, ["twin/3"])[-1].brighter == pytest.approx(-25 / 255)


def test_the_distance_is_the_standard_deviation_of_the_difference():
    image = np.full((32, 32, 3), 100, np.uint8)
    image[::2, ::4] += 40  # and the grey means of blocks differ from picture to picture
    other = image.copy()
    other[:, :, 0] += 6  # +6 on a third of the values: mean 2, variance (36 / 3) - 4 = 8
    (twin,) = near_duplicates(beside(image, other), ["twin/0"])
    assert twin.distance == pytest.approx(np.sqrt(8) / 255, rel=1e-12)
    assert twin.brighter == pytest.approx(2 / 255)


@pytest.mark.parametrize("change", ["jpeg", "noise", "darker", "small and back"])
def test_a_photograph_saved_anew_is_a_twin(change):
    image = smooth(0)
    if change == "jpeg":
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=60)
        again = np.asarray(Image.open(file))
    elif change == "noise":
        again = (image + np.random.default_rng(0).integers(-4, 5, image.shape)).astype(np.uint8)
    elif change == "darker":
        again = image - 30
    else:
        again = np.asarray(Image.fromarray(image).resize((24, 24)).resize((32, 32)))
    found = near_duplicates(beside(image, again, smooth(1), smooth(2)), ["twin/0"])
    assert [twin.twin for twin in found] == ["twin/1"]
    assert not found[0].exact


def test_rows_that_are_deleted_together_are_no_twins_and_no_row_is_its_own():
    image = TABLE.images[0]
    records = beside(image)
    assert [twin.twin for twin in near_duplicates(records, ["set/000"])] == ["twin/0"]
    assert near_duplicates(records, ["set/000", "twin/0"]) == ()
    assert near_duplicates(records, []) == ()
    pairs = [(twin.id, twin.twin) for twin in near_duplicates(records)]
    assert pairs == [("set/000", "twin/0")]


def test_evenly_coloured_pictures_of_other_brightness_are_not_the_same():
    grey = [np.full((32, 32, 3), value, np.uint8) for value in (10, 20, 200)]
    found = near_duplicates(beside(*grey))
    assert [(twin.id, twin.twin) for twin in found] == [("twin/0", "twin/1")]
    assert len(near_duplicates(beside(*grey), brighter=1)) == 3


def test_the_digits_have_no_twins_and_their_nearest_pair_is_where_the_bound_says():
    digits = load_digits()
    assert near_duplicates(digits) == ()
    nearest = near_duplicates(digits, within=0.0415)
    assert 0.0405 < nearest[0].distance < 0.0415


def test_blocks_change_nothing(monkeypatch):
    records = beside(TABLE.images[0], TABLE.images[5], TABLE.images[3][:, ::-1])
    whole = near_duplicates(records), near_duplicates(records, ["set/000", "twin/2"])
    monkeypatch.setattr(twins, "BLOCK", 2)
    monkeypatch.setattr(twins, "PAIRS", 1)
    assert (near_duplicates(records), near_duplicates(records, ["set/000", "twin/2"])) == whole
    assert len(whole[0]) == 3


@pytest.mark.parametrize("shape", [(3, 5, 1), (1, 1, 3), (17, 33, 3)])
def test_any_shape_will_do(shape):
    records = table(6, shape=shape, seed=3)
    images = records.images.copy()
    images[4] = images[1]
    found = near_duplicates(dataclasses.replace(records, images=images), ["set/001"], within=0)
    assert [twin.twin for twin in found if twin.exact] == ["set/004"]


@pytest.mark.parametrize("bounds", [{"within": -0.1}, {"within": 0.6}, {"brighter": 2}, {"within": float("nan")}])
def test_bounds_out_of_range_and_unknown_ids_are_refused(bounds):
    with pytest.raises(UserError, match=r"(within|brighter): expected a number from 0 to"):
        near_duplicates(TABLE, **bounds)
    with pytest.raises(UserError, match="unknown id 'nobody'"):
        near_duplicates(TABLE, ["nobody"])


def test_a_long_search_can_be_stopped():
    with interrupt.deferred():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(StopRequested):
            near_duplicates(TABLE)


def slowly(images, i, j, within, brighter):
    """Whether two pictures are twins, word by word."""
    a, b = images[i] / 255.0, images[j] / 255.0
    distance = min(np.std(b - a), np.std(b[:, ::-1] - a))
    return distance <= within and abs(b.mean() - a.mean()) <= brighter


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([4, 8, 16, 20]),
    amplitude=st.sampled_from([0, 1, 4, 8, 20]),
    within=st.sampled_from([0.0101, 0.0307, 0.1003]),
)
def test_all_twins_and_only_they_are_found(seed, size, amplitude, within):
    random = np.random.default_rng(seed)
    base = random.integers(40, 200, (4, size, size, 3))
    images = base[random.integers(0, 4, 10)] + random.integers(-amplitude, amplitude + 1, (10, size, size, 3))
    images = images + random.integers(-40, 41, (10, 1, 1, 1))
    flipped = random.random(10) < 0.5
    images[flipped] = images[flipped][:, :, ::-1]
    records = dataclasses.replace(table(10, shape=(size, size, 3)), images=images.astype(np.uint8))
    expected = {
        (f"set/{i:03d}", f"set/{j:03d}")
        for i in range(10)
        for j in range(i + 1, 10)
        if slowly(records.images, i, j, within, 0.2003)
    }
    found = near_duplicates(records, within=within, brighter=0.2003)
    assert {(twin.id, twin.twin) for twin in found} == expected
    assert [twin.distance for twin in found] == sorted(twin.distance for twin in found)
    left = near_duplicates(records, ["set/000"], within=within, brighter=0.2003)
    assert {twin.twin for twin in left} == {b for a, b in expected if a == "set/000"}
