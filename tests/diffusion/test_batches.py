"""Training batches depend on (seed, step) and ids alone."""

import dataclasses

import numpy as np
import pytest

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common.seeds import rng
from tfpdu.diffusion.batches import Batches, merge_small_cells


def images_as_rows(batch):
    return [image.tobytes() for image in batch.images]


def test_a_step_is_the_same_whenever_it_is_asked_for(records):
    forward, backward = Batches(records, TINY, 3), Batches(records, TINY, 3)
    there = [forward.at(step) for step in range(12)]
    back = [backward.at(step) for step in reversed(range(12))][::-1]
    for a, b in zip(there, back, strict=True):
        for field in dataclasses.fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_batches_leave_the_records_alone(records):
    before = records.images.copy()
    Batches(records, TINY, 3).at(0)
    np.testing.assert_array_equal(records.images, before)


def test_an_epoch_sees_every_row_once(records):
    settings = dataclasses.replace(TINY, flip=False)
    batches = Batches(records, settings, 3)
    seen = [row for step in range(12) for row in images_as_rows(batches.at(step))]  # 96 rows, 16 a step: two epochs
    assert sorted(seen[:96]) == sorted(seen[96:]) == sorted(image.tobytes() for image in records.images)
    assert seen[:96] != seen[96:]


def test_the_order_of_the_table_does_not_matter(records):
    shuffled = records.take(rng("shuffle").permutation(len(records)))
    a, b = Batches(records, TINY, 3).at(5), Batches(shuffled, TINY, 3).at(5)
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.attributes, b.attributes)


def test_a_batch_larger_than_the_table(records):
    few = records.take(np.arange(5))
    batch = Batches(few, dataclasses.replace(TINY, flip=False), 0).at(1)
    assert batch.images.shape == (16, 8, 8, 1)
    assert {row.tobytes() for row in batch.images} == {image.tobytes() for image in few.images}


@pytest.mark.parametrize("flip", [True, False])
def test_flips_only_when_asked_for(records, flip):
    originals = {image.tobytes() for image in records.images}
    batch = Batches(records, dataclasses.replace(TINY, flip=flip, batch=96), 0).at(0)
    same = np.array([row in originals for row in images_as_rows(batch)])
    mirrored = np.array([image[:, ::-1].tobytes() in originals for image in batch.images])
    assert np.all(same | mirrored)
    assert same.all() != flip
    if flip:
        assert 0.3 < same.mean() < 0.7


def test_conditions_are_hidden_apart_and_together():
    records = toy_records(unknown=False)
    settings = dataclasses.replace(TINY, batch=2000, drop_each=0.2, drop_all=0.1)
    batch = Batches(records, settings, 0).at(0)
    hidden = np.column_stack([batch.labels, batch.attributes]) == -1
    np.testing.assert_allclose(hidden.mean(axis=0), 1 - 0.9 * 0.8, atol=0.04)  # 4 standard errors
    assert hidden.all(axis=1).mean() == pytest.approx(0.1 + 0.9 * 0.2**3, abs=0.03)
    assert (~hidden).all(axis=1).mean() == pytest.approx(0.9 * 0.8**3, abs=0.045)


def test_nothing_is_hidden_at_zero():
    settings = dataclasses.replace(TINY, drop_each=0, drop_all=0)
    batch = Batches(toy_records(unknown=False), settings, 0).at(0)
    assert (batch.labels >= 0).all()
    assert (batch.attributes >= 0).all()


def test_small_cells_lose_their_attributes():
    records = toy_records(unknown=False).take(np.r_[np.arange(48), 60])  # 48 rows fill 6 cells of each class evenly
    attributes = records.attributes.copy()
    attributes[-1] = [1, 2]
    labels = records.labels.copy()
    labels[-1] = 0
    records = dataclasses.replace(records, attributes=attributes, labels=labels)
    table = np.column_stack([labels, attributes])
    cells, counts = np.unique(table, axis=0, return_counts=True)
    least = int(counts.max())
    merged, report = merge_small_cells(records, least)
    for cell, count in zip(cells, counts, strict=True):
        rows = (table == cell).all(axis=1)
        assert (merged[rows] == (cell[1:] if count >= least else -1)).all()
    assert sum(entry["rows"] for entry in report) == (merged == -1).all(axis=1).sum() > 0
    assert merge_small_cells(records, 0)[1] == []
