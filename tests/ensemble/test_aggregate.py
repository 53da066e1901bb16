"""Known answers for k = 3 models, and rows that do not feel their company."""

import numpy as np
import pytest

from tests.ensemble import tiny
from tfpdu.common import UserError, files
from tfpdu.ensemble import Ensemble, build_resnet18
from tfpdu.ensemble.aggregate import BATCH, Evaluator, aggregate, softmax

P = np.array([[[0.6, 0.4, 0.0]], [[0.5, 0.2, 0.3]], [[0.0, 0.9, 0.1]]])  # [3, 1, 3]


def test_mean_probability():
    np.testing.assert_allclose(aggregate(P, "mean_probability"), [[1.1 / 3, 0.5, 0.4 / 3]])


def test_weighted_by_the_number_of_rows():
    np.testing.assert_allclose(aggregate(P, "weighted", np.array([2.0, 1.0, 1.0])), [[0.425, 0.475, 0.1]])


def test_vote_counts_best_classes():
    np.testing.assert_allclose(aggregate(P, "vote"), [[2 / 3, 1 / 3, 0]], atol=2e-6)


def test_a_tied_vote_goes_to_the_higher_mean_probability():
    assert aggregate(P[[0, 2]], "vote").argmax() == 1
    assert aggregate(P[[0, 2]], "vote").sum() == pytest.approx(1)


def test_softmax_is_stable_in_float64():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0 - np.log(3)]], np.float64)), [[0.75, 0.25]])


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4))


@pytest.fixture(scope="module")
def members():
    return [build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4, seed=s).get_weights() for s in range(2)]


def test_a_row_does_not_depend_on_its_companions(evaluator, members):
    images = tiny.records(BATCH + 7).images
    ensemble = Ensemble(members, evaluator, tiny.settings())
    together = ensemble.probabilities(images)
    assert together.dtype == np.float64
    np.testing.assert_allclose(together.sum(1), 1)
    for rows in ([0], [BATCH], list(range(5, 40)), list(range(BATCH + 6, -1, -1))):
        np.testing.assert_array_equal(ensemble.probabilities(images[rows]), together[rows])


def test_each_member_speaks_with_its_own_weights(evaluator, members):
    images = tiny.records(9).images
    each = Ensemble(members, evaluator, tiny.settings()).shard_probabilities(images)
    assert each.shape == (2, 9, tiny.CLASSES)
    for s in range(2):
        np.testing.assert_array_equal(
            Ensemble(members[s : s + 1], evaluator, tiny.settings()).probabilities(images), each[s]
        )
    assert not np.array_equal(each[0], each[1])


def test_members_can_be_files_and_become_models(evaluator, members, tmp_path):
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4, seed=1)
    files.save_weights(model, tmp_path / "a.weights.h5")
    images = tiny.records(5).images
    ensemble = Ensemble([tmp_path / "a.weights.h5"], evaluator, tiny.settings())
    np.testing.assert_array_equal(
        ensemble.probabilities(images), Ensemble(members[1:], evaluator, tiny.settings()).probabilities(images)
    )
    logits = np.asarray(ensemble.model(0)(images.astype(np.float32), training=False))
    np.testing.assert_allclose(softmax(logits), ensemble.probabilities(images), atol=1e-6)


def test_no_rows_give_no_probabilities(evaluator, members):
    empty = np.zeros((0, *tiny.SHAPE), np.uint8)
    assert Ensemble(members, evaluator, tiny.settings()).probabilities(empty).shape == (0, tiny.CLASSES)


def test_missing_or_foreign_weights_are_named_in_one_line(evaluator, tmp_path):
    with pytest.raises(UserError, match="gone"):
        Ensemble([tmp_path / "none.weights.h5"], evaluator, tiny.settings()).weights(0)
    (tmp_path / "bad.weights.h5").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not the weights of this network"):
        Ensemble([tmp_path / "bad.weights.h5"], evaluator, tiny.settings()).weights(0)
    with pytest.raises(UserError, match="at least one model"):
        Ensemble([], evaluator, tiny.settings())
