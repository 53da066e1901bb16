"""The quality gate, with generators and classifiers whose answers are known."""

import dataclasses

import numpy as np
import pytest

from tests.diffusion.conftest import SPECS, toy_records
from tfpdu.common import UserError
from tfpdu.common.seeds import rng
from tfpdu.diffusion import classification_accuracy_score, measure_quality, realised_attributes, require_quality
from tfpdu.diffusion.quality import synthetic_twin


def nearest_mean(records, seed):
    """A classifier that learns one mean image a class."""
    means = np.stack([records.images[records.labels == k].astype(float).mean(axis=0) for k in range(records.classes)])

    def predict(images):
        distances = ((images[:, None].astype(float) - means) ** 2).sum(axis=(2, 3, 4))
        return np.exp(-distances + distances.min(axis=1, keepdims=True))

    return predict


@pytest.fixture(scope="module")
def train():
    return toy_records(96, seed=1, unknown=False)


@pytest.fixture(scope="module")
def test_rows():
    return toy_records(200, seed=2, unknown=False)


def perfect(labels, attributes, keys):
    """Draws fresh toy images with exactly what was asked for."""
    pool = toy_records(960, seed=3, unknown=False)
    chosen = []
    for label, wanted, key in zip(labels, attributes, keys, strict=True):
        rows = np.flatnonzero((pool.labels == label) & (pool.attributes == wanted).all(axis=1))
        chosen.append(rng("perfect", key).choice(rows))
    return pool.images[chosen]


def swapped(labels, attributes, keys):
    return perfect(1 - labels, attributes, keys)


def test_real_rows_score_one(train, test_rows):
    score = classification_accuracy_score(train, train, test_rows, nearest_mean, 0)
    assert score == {"cas": score["cas_real"], "cas_real": score["cas_real"], "cas_ratio": 1.0}
    assert score["cas_real"] > 0.9


def test_swapped_classes_score_what_is_left(train, test_rows):
    score = classification_accuracy_score(synthetic_twin(train, swapped), train, test_rows, nearest_mean, 0)
    assert score["cas"] == pytest.approx(1 - score["cas_real"], abs=0.05)
    assert score["cas_ratio"] == score["cas"] / score["cas_real"]


def test_the_twin_asks_for_the_same_cells(train):
    twin = synthetic_twin(train, perfect)
    np.testing.assert_array_equal(twin.labels, train.labels)
    np.testing.assert_array_equal(twin.attributes, train.attributes)
    assert not set(twin.ids) & set(train.ids)
    assert (twin.origin > 0).all()


def test_realised_shares_by_hand():
    requested = np.array([[0, 0], [0, 1], [1, 1], [1, -1], [-1, 2]])
    judged = np.array([[0, 0], [1, 1], [1, 0], [-1, 2], [0, -1]])
    assert realised_attributes(requested, judged, SPECS) == {
        "tone": {"dark": 0.5, "bright": 1.0},
        "side": {"left": 1.0, "right": 0.5},
    }
    with pytest.raises(UserError, match="realised attributes"):
        realised_attributes(requested, judged[:, :1], SPECS)


def test_a_good_generator_passes(train, test_rows):
    def judge(images):
        bright = (images[:, :, 2:6].mean(axis=(1, 2, 3)) > 145).astype(np.int8)
        return np.stack([bright, np.full(len(images), -1, np.int8)], -1)

    twin = synthetic_twin(train, perfect)
    result = measure_quality(twin, train, test_rows, nearest_mean, floor=0.9, seed=0, judge=judge)
    require_quality(result)
    assert result["passed"]
    assert result["cas_ratio"] >= 0.9
    assert result["floor"] == 0.9
    assert result["realised"] == {"tone": {"dark": 1.0, "bright": 1.0}}


def test_a_poor_generator_is_refused_with_what_to_do(train, test_rows):
    measured = measure_quality(synthetic_twin(train, swapped), train, test_rows, nearest_mean, floor=0.8, seed=0)
    assert not measured["passed"]
    assert measured["realised"] == {}
    with pytest.raises(
        UserError, match=r"only 0\.\d\d of real data's accuracy \(floor 0\.80\).*augment.method=oversample"
    ):
        require_quality(measured)


def test_a_gate_that_cannot_tell_is_not_passed(train, test_rows):
    def learns_nothing(records, seed):
        return lambda images: np.eye(2)[np.zeros(len(images), int)]

    measured = measure_quality(synthetic_twin(train, swapped), train, test_rows, learns_nothing, floor=0.8, seed=0)
    assert measured["cas_ratio"] == 1  # both are at chance
    with pytest.raises(UserError, match="no more than chance"):
        require_quality(measured)


def test_empty_sets_are_named(train, test_rows):
    none = train.take(np.zeros(0, np.int64))
    with pytest.raises(UserError, match="the test set has no rows"):
        classification_accuracy_score(train, train, none, nearest_mean, 0)
    hopeless = dataclasses.replace(test_rows, labels=1 - test_rows.labels)
    with pytest.raises(UserError, match="nothing to compare with"):
        classification_accuracy_score(
            train, train, hopeless, lambda *_: lambda images: np.eye(2)[1 - hopeless.labels], 0
        )
