"""What a step of private training computes: clipping, noise, and the whole run."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.diffusion.conftest import toy_records
from tests.diffusion.steps import PRIVATE, Stepper, privacy, private_batch
from tests.diffusion.test_training import Killed, kill
from tfpdu.common import UserError
from tfpdu.common.files import weights_hash
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.diffusion import fit_generator, load_generator
from tfpdu.diffusion.batches import Batch, Batches
from tfpdu.diffusion.compiled import training_step
from tfpdu.diffusion.poisson import PoissonBatch, PoissonBatches
from tfpdu.diffusion.private import Privacy
from tfpdu.diffusion.private_step import cut, private_step
from tfpdu.diffusion.training import Training, training_batches


def test_one_row_moves_the_clipped_sum_by_at_most_the_norm():
    """Rows are taken out one by one; with C this small every one is cut, so each moves the sum by exactly C."""
    records, figures = toy_records(), privacy(clip=0.01)
    stepper = Stepper(lambda *state: private_step(*state, figures))
    batch = private_batch(figures)
    whole, _ = stepper.gradient(batch)
    assert len(batch.rows) > 8
    for row in batch.rows[[0, 7, -1]]:
        fewer = private_batch(figures, records.without([records.ids[row]]))
        assert len(fewer.rows) == len(batch.rows) - 1
        moved = np.linalg.norm(whole - stepper.gradient(fewer)[0]) * figures.expected_batch
        assert moved == pytest.approx(figures.clip_norm, rel=2e-3)


def test_without_clipping_and_noise_it_is_the_ordinary_gradient_of_the_mean():
    """Each row's copies count equally, so the mean over rows is the mean over all copies."""
    batch = private_batch()
    m = len(batch.rows)
    private, (loss, norm) = Stepper(lambda *state: private_step(*state, privacy(clip=1e9, batch=m))).gradient(batch)
    arrays = zip(*(chunk.copies.tensors() for chunk in batch.chunks), strict=True)
    flat = Batch(*(np.concatenate(parts)[:m].reshape(m * 2, *parts[0].shape[2:]) for parts in arrays))
    ordinary, said = Stepper(training_step).gradient(flat)  # it cuts its gradient to 1
    assert (loss, norm) == pytest.approx(said, rel=1e-4)
    np.testing.assert_allclose(private, ordinary * max(1.0, norm), atol=1e-5 * max(1.0, norm))


def test_noise_has_its_standard_deviation_and_is_keyed():
    """An empty sample leaves the noise alone: some 5,000 normal numbers, within 4 standard errors."""
    figures = privacy(clip=0.5, noise=3.0)
    stepper = Stepper(lambda *state: private_step(*state, figures))

    def noise(*key):
        gradient, (loss, norm) = stepper.gradient(PoissonBatch(np.zeros(0, np.int64), (), key))
        assert loss == 0
        assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-3)
        return gradient * figures.expected_batch

    first, again, other = noise("key", 0), noise("key", 0), noise("key", 1)
    n = first.size
    np.testing.assert_array_equal(first, again)
    assert first.std() == pytest.approx(0.5 * 3.0, rel=4 / np.sqrt(2 * n))
    assert abs(first.mean()) < 4 * 1.5 / np.sqrt(n)
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(n)


def test_rows_are_cut_over_all_weights_together():
    """By hand: row 0 has norm 5 and is cut to 2, row 1 has norm 1 and stays, row 2 is filling, row 3 is broken."""
    parts = [np.array([[3.0], [1.0], [9.0], [np.inf]], np.float32), np.array([[4.0, 0], [0, 0], [9, 9], [1, 1]])]
    present = np.array([1, 1, 0, 1], np.float32)
    first, second = cut([keras.ops.convert_to_tensor(p.astype(np.float32)) for p in parts], present, 2.0)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(first), [0.4 * 3 + 1], rtol=1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(second), [0.4 * 4, 0], rtol=1e-6)


def interrupted(records, directory, monkeypatch, at):
    whole = PoissonBatches.at

    def until(self, step):
        if step == at:
            kill()
        return whole(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(PoissonBatches, "at", until)
        with pytest.raises(Killed):
            fit_generator(records, PRIVATE, directory, seed=7)


@pytest.mark.slow
def test_a_private_run_resumes_bit_for_bit_and_keeps_no_secret(tmp_path, monkeypatch):
    records = toy_records()
    resumed, whole = tmp_path / "resumed", tmp_path / "whole"
    interrupted(records, resumed, monkeypatch, at=6)
    assert (resumed / "noise.key").stat().st_mode & 0o077 == 0
    whole.mkdir()
    (whole / "noise.key").write_text((resumed / "noise.key").read_text())
    finished = fit_generator(records, PRIVATE, resumed, seed=7)
    assert weights_hash(finished.network) == weights_hash(fit_generator(records, PRIVATE, whole, seed=7).network)
    assert sorted(path.name for path in resumed.iterdir()) == ["ema.weights.h5", "generator.json"]

    card = json.loads((resumed / "generator.json").read_text())
    assert card["private"]["epsilon"] <= 3
    assert card["private"]["steps"] == 12
    assert card["private"]["sampling_rate"] == 16 / 96
    assert card["merged_cells"] == []
    assert load_generator(resumed).privacy == Privacy(**card["private"])
    with pytest.raises(UserError, match=r"holds another generator .*: private"):
        fit_generator(records, dataclasses.replace(PRIVATE, private=dict(epsilon=1.0, delta=1e-3)), resumed, seed=7)


@pytest.mark.slow
def test_private_training_on_digits_learns(tmp_path):
    """Real digits, epsilon 8 at delta 1e-4, 20 steps of 500 rows: the loss on held-out digits falls by a fifth or more.

    Measured: from 1.70 to 1.20; the noise alone, or gradients of the wrong sign, would not lower it.
    """
    settings = dataclasses.replace(
        PRIVATE, images=10_000, batch=500, flip=False, learning_rate=1e-2, private=dict(epsilon=8.0, delta=1e-4)
    )
    train, held_out = digits(slice(0, 1500)), digits(slice(1500, 1797))
    batches = training_batches(train, settings, 0)
    assert batches.privacy.epsilon <= 8
    training = Training.of_denoiser(
        settings.architecture((8, 8, 1), 10, (2,)), settings, batches, 0, "", tmp_path / "state.npz"
    )
    batch = Batches(held_out, dataclasses.replace(settings, batch=2000), 1).at(0)

    def loss():
        tensors = map(keras.ops.convert_to_tensor, batch.tensors())
        return float(keras.ops.mean(training._losses(*tensors)))

    before = loss()
    training.run()
    training.finish()
    assert loss() < 0.8 * before


def digits(rows):
    source = load_digits()
    labels = source.target[rows].astype(np.int32)
    return Records(
        images=(source.images[rows] * 255 / 16).astype(np.uint8)[..., None],
        labels=labels,
        attributes=(labels % 2).astype(np.int8)[:, None],
        ids=np.array([f"{rows.start}+{i}" for i in range(len(labels))]),
        origin=np.zeros(len(labels), np.int8),
        specs=(AttributeSpec("parity", ("even", "odd")),),
        label_names=tuple(map(str, range(10))),
    )
