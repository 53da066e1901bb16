"""Training: what it computes, that it can be interrupted anywhere, and when it stops."""

import dataclasses
import json
import shutil
import signal

import keras
import numpy as np
import pytest

from tests.diffusion.conftest import TINY, toy_records
from tfpdu.common import StopRequested, UserError, interrupt
from tfpdu.common.files import weights_hash
from tfpdu.diffusion import fit_generator
from tfpdu.diffusion.batches import Batches
from tfpdu.diffusion.compiled import training_step
from tfpdu.diffusion.training import ema_beta


class Killed(BaseException):
    """Stands for a power cut: nothing below the test handles it."""


def train_until(at, records, directory, monkeypatch, end):
    """Trains up to the batch of step `at`, where `end()` is called."""
    whole = Batches.at

    def until(self, step):
        if step == at:
            end()
        return whole(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "at", until)
        fit_generator(records, TINY, directory, seed=7)


def kill():
    raise Killed


def without_times(directory):
    card = json.loads((directory / "generator.json").read_text())
    return {key: value for key, value in card.items() if key not in ("seconds", "images_per_second", "weights_sha256")}


def test_killed_between_checkpoints_and_resumed_gives_the_same_weights(records, trained, tmp_path, monkeypatch):
    generator, whole = trained
    for at in (3, 14):  # a checkpoint every 4 steps: before the first one, and two steps after the third
        with pytest.raises(Killed):
            train_until(at, records, tmp_path, monkeypatch, kill)
        assert (tmp_path / "checkpoint.npz").exists() == (at >= 4)
        assert not (tmp_path / "generator.json").exists()
    resumed = fit_generator(records, TINY, tmp_path, seed=7)
    assert weights_hash(resumed.network) == weights_hash(generator.network)
    assert without_times(tmp_path) == without_times(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ema.weights.h5", "generator.json"]


@pytest.mark.slow
def test_a_signal_saves_the_very_step(records, trained, tmp_path, monkeypatch):
    with interrupt.deferred(), pytest.raises(StopRequested):
        train_until(6, records, tmp_path, monkeypatch, lambda: signal.raise_signal(signal.SIGTERM))
    with np.load(tmp_path / "checkpoint.npz") as file:
        assert json.loads(str(file["state"]))["step"] == 7
    assert weights_hash(fit_generator(records, TINY, tmp_path, seed=7).network) == weights_hash(trained[0].network)


def test_a_checkpoint_of_other_rows_is_refused(records, tmp_path, monkeypatch):
    with pytest.raises(Killed):
        train_until(5, records, tmp_path, monkeypatch, kill)
    with pytest.raises(UserError, match="checkpoint of another generator"):
        fit_generator(records.take(np.arange(90)), TINY, tmp_path, seed=7)
    (tmp_path / "checkpoint.npz").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"checkpoint\.npz: not a readable"):
        fit_generator(records, TINY, tmp_path, seed=7)


def test_training_that_diverges_is_stopped(records, tmp_path):
    settings = dataclasses.replace(TINY, learning_rate=1e38, warm_up=0.0)
    with pytest.raises(UserError, match=r"diverged at step \d+ .* lower --config.generator.learning_rate"):
        fit_generator(records, settings, tmp_path, seed=7)
    assert not (tmp_path / "generator.json").exists()


def test_the_average_follows_its_closed_form():
    """A network of one weight and a loss linear in it: every quantity of a step is known."""
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    optimiser = keras.optimizers.SGD(0.5)
    optimiser.build(network.trainable_variables)
    average = keras.Variable(np.ones((1, 1), np.float32), trainable=False)
    batch = Batches(toy_records(16), TINY, 0).at(0)
    step = training_step(network, optimiser, [average], lambda *_: network(np.full((2, 1), 0.25, np.float32))[:, 0])
    beta, weight, closed = 0.9, 1.0, 1.0
    for _ in range(10):
        loss, norm = step(batch, beta)
        assert loss == pytest.approx(0.25 * weight, abs=1e-6)
        assert norm == pytest.approx(0.25, abs=1e-6)
        weight -= 0.5 * 0.25
        closed = beta * closed + (1 - beta) * weight
    np.testing.assert_allclose(network.get_weights()[0], weight, atol=1e-6)
    k = np.arange(1, 11)
    np.testing.assert_allclose(closed, beta**10 + (1 - beta) * np.sum(beta ** (10 - k) * (1 - 0.125 * k)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(average), closed, atol=1e-6)


def test_long_gradients_are_cut():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    optimiser = keras.optimizers.SGD(1.0)
    optimiser.build(network.trainable_variables)
    average = keras.Variable(np.ones((1, 1), np.float32), trainable=False)
    step = training_step(network, optimiser, [average], lambda *_: network(np.full((2, 1), 40.0, np.float32))[:, 0])
    _, norm = step(Batches(toy_records(16), TINY, 0).at(0), 0.5)
    assert norm == pytest.approx(40)
    np.testing.assert_allclose(network.get_weights()[0], 0, atol=1e-6)


def test_half_life_of_the_average():
    assert ema_beta(10**9, 512, 500_000) == pytest.approx(0.99929, abs=1e-5)
    assert ema_beta(10**9, 128, 50_000) == pytest.approx(0.99823, abs=1e-5)
    assert ema_beta(10**9, 100, 100) == 0.5
    assert ema_beta(128, 128, 50_000) == pytest.approx(0.5**20)  # at the very first step almost nothing is kept


def test_classes_and_attributes_are_learned(trained, tmp_path):
    """A few hundred steps already separate the toy's classes and tones."""
    settings = dataclasses.replace(TINY, images=8_000, batch=32, steps=12, sample_batch=32, flip=False)
    generator = fit_generator(toy_records(192), settings, tmp_path, seed=1)
    assert generator.card["loss"] < 0.9 * trained[0].card["loss"]
    labels, tones = (np.arange(64) % 2).astype(np.int32), (np.arange(64) // 2 % 2).astype(np.int32)
    wanted = np.stack([tones, np.full(64, 2)], -1)
    images = generator.sample(labels, wanted, [f"k{i}" for i in range(64)])[..., 0].astype(float)
    lighter_below = images[:, 4:].mean(axis=(1, 2)) > images[:, :4].mean(axis=(1, 2))
    assert np.mean(lighter_below == (labels == 1)) > 0.9
    assert np.mean((images.mean(axis=(1, 2)) > 145) == (tones == 1)) > 0.9


ENDLESS = dataclasses.replace(TINY, schedule="rsqrt", decay_images=4 * TINY.batch, ema=0.1)


@pytest.mark.slow
def test_an_endless_training_goes_on_as_if_it_had_never_stopped(records, tmp_path):
    longer = dataclasses.replace(ENDLESS, images=TINY.images + 3 * TINY.batch)
    short = fit_generator(records, ENDLESS, tmp_path / "extended", seed=7)
    extended = fit_generator(records, longer, tmp_path / "extended", seed=7)
    whole = fit_generator(records, longer, tmp_path / "whole", seed=7)
    assert weights_hash(extended.network) == weights_hash(whole.network)
    assert extended.card["id"] == whole.card["id"] != short.card["id"]
    assert extended.card["images_seen"] == short.card["images_seen"] + 3 * TINY.batch
    with pytest.raises(UserError, match=f"images was {longer.images}, now {ENDLESS.images}"):
        fit_generator(records, ENDLESS, tmp_path / "extended", seed=7)


@pytest.mark.slow
def test_without_its_checkpoint_a_finished_training_goes_on_from_the_averaged_weights(records, tmp_path):
    longer = dataclasses.replace(ENDLESS, images=TINY.images + 3 * TINY.batch)
    short = fit_generator(records, ENDLESS, tmp_path / "first", seed=7)
    (tmp_path / "first" / "checkpoint.npz").unlink()
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    first = fit_generator(records, longer, tmp_path / "first", seed=7)
    second = fit_generator(records, longer, tmp_path / "second", seed=7)
    whole = fit_generator(records, longer, tmp_path / "whole", seed=7)
    assert weights_hash(first.network) == weights_hash(second.network) != weights_hash(whole.network)
    assert first.card["taken_up"] == [short.card["images_seen"]]
    assert whole.card["taken_up"] == []
    assert first.card["id"] == second.card["id"] != whole.card["id"]
    assert first.card["images_seen"] == whole.card["images_seen"]
    (tmp_path / "second" / "checkpoint.npz").unlink()
    longest = dataclasses.replace(longer, images=longer.images + TINY.batch)
    twice = fit_generator(records, longest, tmp_path / "second", seed=7)
    assert twice.card["taken_up"] == [short.card["images_seen"], second.card["images_seen"]]
    again = fit_generator(records, longer, tmp_path / "first", seed=7)  # loads what is there
    assert weights_hash(again.network) == weights_hash(first.network)
    assert again.card["id"] == first.card["id"]


@pytest.mark.slow
def test_a_longer_trainings_checkpoint_is_not_cut_short(records, tmp_path):
    fit_generator(records, ENDLESS, tmp_path, seed=7)
    (tmp_path / "generator.json").unlink()
    with pytest.raises(UserError, match="images already, more than the"):
        fit_generator(records, dataclasses.replace(ENDLESS, images=TINY.batch), tmp_path, seed=7)


def test_private_training_needs_an_end():
    with pytest.raises(UserError, match="schedule: rsqrt has no end"):
        dataclasses.replace(ENDLESS, private={"epsilon": 1.0})
