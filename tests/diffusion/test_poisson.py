"""Poisson samples: each row on its own, whatever the others are."""

import dataclasses

import numpy as np
import pytest

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common.seeds import rng
from tfpdu.diffusion.poisson import PoissonBatches
from tfpdu.diffusion.private import Privacy

SETTINGS = dataclasses.replace(TINY, private=dict(epsilon=1.0, chunk=8, multiplicity=3))


def privacy(rate=0.25):
    return Privacy(1.0, 1e-5, 1.0, 1.0, rate, 24, 100, "pld")


def by_id(records, batch):
    """{id: the arrays of the row's copies}, filling left out."""
    fields = [field.name for field in dataclasses.fields(batch.chunks[0].copies)]
    stacked = {f: np.concatenate([getattr(chunk.copies, f) for chunk in batch.chunks]) for f in fields}
    present = np.concatenate([chunk.present for chunk in batch.chunks])
    assert present[: len(batch.rows)].all()
    assert present.sum() == len(batch.rows)
    return {records.ids[row]: {f: stacked[f][i] for f in fields} for i, row in enumerate(batch.rows)}


@pytest.mark.parametrize("settings", [SETTINGS, dataclasses.replace(SETTINGS, min_cell=50)])
def test_removing_rows_changes_nothing_for_the_others(settings):
    records = toy_records()
    gone = records.ids[[3, 40, 41, 95]]
    fewer = records.without(gone)
    whole, rest = (PoissonBatches(table, settings, privacy(), "key") for table in (records, fewer))
    left = 0
    for step in range(12):
        before, after = by_id(records, whole.at(step)), by_id(fewer, rest.at(step))
        left += len(before) - len(after)
        assert set(after) == set(before) - set(gone)
        for row_id, copies in after.items():
            for field, value in copies.items():
                np.testing.assert_array_equal(value, before[row_id][field])
    assert left > 0


def test_the_order_of_the_table_does_not_matter():
    records = toy_records()
    shuffled = records.take(rng("shuffle").permutation(len(records)))
    a, b = (PoissonBatches(table, SETTINGS, privacy(), "key").at(5) for table in (records, shuffled))
    assert [records.ids[row] for row in a.rows] == [shuffled.ids[row] for row in b.rows]
    for one, other in zip(a.chunks, b.chunks, strict=True):
        np.testing.assert_array_equal(one.copies.noise, other.copies.noise)


def test_rows_are_drawn_at_the_rate_and_apart():
    """400 steps of 96 rows at rate 1/4: 4 standard errors, for the mean, each row's own share and the batch's size."""
    batches = PoissonBatches(toy_records(), dataclasses.replace(SETTINGS, private=dict(chunk=96)), privacy(), "key")
    drawn = np.zeros((400, 96))
    for step in range(400):
        draws = batches.at(step).rows
        drawn[step, draws] = 1
    assert drawn.mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.1875 / drawn.size))
    assert np.abs(drawn.mean(axis=0) - 0.25).max() < 4.5 * np.sqrt(0.1875 / 400)
    assert drawn.sum(axis=1).var() == pytest.approx(96 * 0.1875, rel=0.3)  # a fixed batch size would have 0
    assert drawn[0].tolist() != drawn[1].tolist()


@pytest.mark.parametrize(("rate", "size"), [(1.0, 96), (1e-12, 0)])
def test_extreme_rates(rate, size):
    batch = PoissonBatches(toy_records(), SETTINGS, privacy(rate), "key").at(0)
    assert len(batch.rows) == size
    assert len(batch.chunks) == size // 8


def test_chunks_have_one_shape_and_copies_differ():
    records = toy_records()
    batch = PoissonBatches(records, SETTINGS, privacy(), "key").at(1)
    assert len(batch.rows) % 8
    for chunk in batch.chunks:
        assert chunk.copies.images.shape == (8, 3, 8, 8, 1)
        assert chunk.copies.sigma.shape == (8, 3)
        assert chunk.copies.attributes.shape == (8, 3, 2)
        assert (chunk.copies.sigma > 0).all()
    sigma = batch.chunks[0].copies.sigma
    assert len(np.unique(sigma)) == sigma.size
    assert np.isin(batch.chunks[0].copies.labels[0], [-1, records.labels[batch.rows[0]]]).all()


def test_another_key_draws_other_rows_and_noise():
    one, other = (PoissonBatches(toy_records(), SETTINGS, privacy(), key).at(0) for key in ("a", "b"))
    assert one.rows.tolist() != other.rows.tolist()
    assert one.key != other.key
