"""Training: a function of the set of rows and the settings, and of nothing else."""

import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.ensemble import tiny
from tfpdu.common import StopRequested, UserError, files, interrupt
from tfpdu.data.views import ViewPolicy
from tfpdu.ensemble.step import TrainingStep, resnet18_step
from tfpdu.ensemble.trainer import Rows, Span, Trainer, _ahead, learning_rate
from tfpdu.ensemble.weights import save_weights

TABLE = tiny.records(30)


def train(table=TABLE, *, span=(0, 2), shard=0, weights=None, seed=0, trainer=None, **changes):
    trainer = trainer or Trainer(tiny.settings(**changes), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, seed)
    trainer.start(shard)
    trainer.train(tiny.rows(table, weights), Span(*span))
    return files.weights_hash(trainer.model)


def test_again_and_from_a_shuffled_table_the_bits_are_the_same():
    first = train()
    train(tiny.records(20, seed=5))  # leaves velocities and moving statistics behind
    assert train() == first
    assert train(TABLE.take(np.random.default_rng(0).permutation(30))) == first


def test_what_the_process_trained_before_has_no_influence():
    resnet18_step.cache_clear()
    first = train()
    resnet18_step.cache_clear()
    for n in (5, 23, 1):  # other sizes of batch come first
        train(tiny.records(n))
    assert train() == first


def test_other_rows_seeds_weights_epochs_give_other_bits():
    first = train()
    others = [
        train(TABLE.take(np.arange(29))),
        train(shard=1),
        train(seed=1),
        train(weights=np.linspace(0.5, 1.5, 30)),
        train(span=(1, 3)),
        train(learning_rate=0.04),
        train(label_smoothing=0.1),
    ]
    assert len({first, *others}) == 8


def test_it_learns():
    trainer = Trainer(tiny.settings(epochs=12), ViewPolicy(shift=0), tiny.CLASSES, tiny.SHAPE, 0)
    losses = []
    trainer.start(0)
    trainer.train(tiny.rows(tiny.records(60)), Span(0, 12), on_epoch=lambda rows, loss: losses.append((rows, loss)))
    assert [rows for rows, _ in losses] == [60] * 12
    assert losses[0][1] > 0.7
    assert losses[-1][1] < 0.2


def test_a_row_of_weight_zero_teaches_nothing_but_counts_in_the_batch_statistics():
    weights = np.ones(30)
    weights[3] = 0
    flipped = TABLE.labels.copy()
    flipped[3] = (flipped[3] + 1) % tiny.CLASSES
    other = Rows(TABLE.images, flipped, TABLE.ids, weights)
    trainer = Trainer(tiny.settings(), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, 0)
    first = train(weights=weights)
    trainer.start(0)
    trainer.train(other, Span(0, 2))
    assert files.weights_hash(trainer.model) == first


def test_batches_are_nearly_equal_and_each_row_comes_once_an_epoch():
    trainer = Trainer(tiny.settings(batch=8), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, 0)
    sizes = [len(images) for images, _, _ in trainer._batches(tiny.rows(tiny.records(25)), Span(0, 2))]
    assert sizes == [7, 6, 6, 6] * 2
    weights = np.arange(25.0)
    seen = np.concatenate([w for _, _, w in trainer._batches(tiny.rows(tiny.records(25), weights), Span(0, 1))])
    np.testing.assert_array_equal(np.sort(seen), weights)


def test_batches_are_made_ahead_in_their_order_and_no_more_than_two():
    made = []
    batches = _ahead(made.append(i) or i for i in range(5))
    assert next(batches) == 0
    assert list(batches) == [1, 2, 3, 4]
    made.clear()
    stopped = _ahead(made.append(i) or i for i in range(5))
    next(stopped)
    stopped.close()
    assert made == [0, 1, 2]


def test_what_goes_wrong_while_a_batch_is_made_is_told():
    def batches():
        yield 0
        raise UserError("row-0003: no such file")

    coming = _ahead(batches())
    assert next(coming) == 0
    with pytest.raises(UserError, match="row-0003"):
        next(coming)


def test_the_file_of_a_trained_model_is_as_if_each_weight_had_been_read_by_itself(tmp_path):
    trainer = Trainer(tiny.settings(), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, 0)
    train(trainer=trainer)
    trainer.save(tmp_path / "at_once.weights.h5")
    save_weights(trainer.model, tmp_path / "one_by_one.weights.h5")
    assert files.file_hash(tmp_path / "at_once.weights.h5") == files.file_hash(tmp_path / "one_by_one.weights.h5")


def test_targets_are_smoothed():
    trainer = Trainer(tiny.settings(label_smoothing=0.3), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, 0)
    _, targets, _ = next(trainer._batches(tiny.rows(tiny.records(4)), Span(0, 1)))
    np.testing.assert_allclose(np.sort(targets, 1), np.tile([0.1, 0.1, 0.8], (4, 1)), rtol=1e-6)


def test_the_rate_rises_and_falls_to_zero():
    settings = tiny.settings(learning_rate=0.4, warmup=0.2)
    rates = [learning_rate(settings, step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([0.2, 0.4, 0.4])
    assert rates[6] == pytest.approx(0.2)
    assert learning_rate(settings, 10, 10) == pytest.approx(0, abs=1e-12)
    assert learning_rate(tiny.settings(warmup=0.0), 0, 1) == pytest.approx(0.05)


def test_one_step_is_sgd_with_momentum_and_decoupled_decay():
    import keras
    import tensorflow as tf

    def model():
        inputs = keras.Input((1, 1, 2))
        outputs = keras.layers.Dense(2, kernel_initializer="ones")(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, outputs)

    step = TrainingStep(model, momentum=0.5, weight_decay=0.1)
    images, targets = tf.constant([[[[1, 2]]], [[[3, 0]]]], tf.uint8), tf.constant([[1.0, 0], [0, 1]])
    losses = [float(step(images, targets, tf.ones(2), 0.1)) for _ in range(2)]
    x, w, b = np.array([[1.0, 2], [3, 0]]), np.ones((2, 2)), np.zeros(2)
    vw, vb = np.zeros((2, 2)), np.zeros(2)
    for loss in losses:
        z = np.exp(x @ w + b)
        p = z / z.sum(1, keepdims=True)
        assert loss == pytest.approx(-np.log((p * targets.numpy()).sum(1)).mean(), rel=1e-5)
        g = (p - targets.numpy()) / 2
        vw, vb = 0.5 * vw - 0.1 * x.T @ g, 0.5 * vb - 0.1 * g.sum(0)
        w, b = w * (1 - 0.1 * 0.1) + vw, b + vb
    np.testing.assert_allclose(step.model.get_weights()[0], w, rtol=1e-5)
    np.testing.assert_allclose(step.model.get_weights()[1], b, atol=1e-6)


def test_stopped_at_any_epoch_it_goes_on_to_the_same_bits(tmp_path):
    whole = train(span=(0, 4))
    partial = tmp_path / "p.partial.npz"
    for stop_after in (1, 2, 3):
        trainer = Trainer(tiny.settings(), tiny.VIEWS, tiny.CLASSES, tiny.SHAPE, 0)
        epochs = []

        def stop(rows, loss, epochs=epochs, stop_after=stop_after):
            epochs.append(loss)
            if len(epochs) == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)

        trainer.start(0)
        with pytest.raises(StopRequested), interrupt.deferred():
            trainer.train(tiny.rows(TABLE), Span(0, 4), partial, stop)
        train(tiny.records(20, seed=5))
        trainer.start(1)  # the partial file alone decides
        trainer.train(tiny.rows(TABLE), Span(0, 4), partial, lambda rows, loss, e=epochs: e.append(loss))
        assert len(epochs) == 4
        assert files.weights_hash(trainer.model) == whole
        partial.unlink()


def test_a_diverging_training_is_said_in_one_line():
    with pytest.raises(UserError, match=r"ensemble.learning_rate=1e\+30: the loss is"):
        train(span=(0, 9), learning_rate=1e30)


def test_one_row_and_a_class_without_rows_can_be_learned():
    assert math.isfinite(np.sum([np.abs(int(train(TABLE.take(np.arange(n)))[:4], 16)) for n in (1, 2)]))


_SCRIPT = """
import sys
import tensorflow as tf
devices = [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
from tfpdu.common.determinism import configure, fingerprint
configure(2)
from tests.ensemble import test_trainer as tests
if len(devices) > 1:
    tests.test_one_step_is_sgd_with_momentum_and_decoupled_decay()
trainer = tests.Trainer(tests.tiny.settings(), tests.tiny.VIEWS, tests.tiny.CLASSES, tests.tiny.SHAPE, 0)
print(fingerprint()["replicas"], trainer._step.replicas)
for rows in (30, 30, 1):
    print(tests.train(tests.TABLE.take(range(rows)), trainer=trainer))
"""


def _in_a_process(devices):
    command = [sys.executable, "-c", _SCRIPT, str(devices)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_another_process_gives_the_same_bits():
    assert _in_a_process(1) == ["1 1", train(), train(), train(TABLE.take([0]))]


def test_two_devices_share_the_batches_do_the_same_sums_and_repeat_to_the_bit():
    replicas, first, second, one_row = _in_a_process(2)
    assert replicas == "2 2"
    assert first == second != one_row
    assert first != train()  # each replica normalises by its own half of the batch


@pytest.mark.parametrize(("shape", "stem"), [(tiny.SHAPE, "cifar"), ((32, 32, 3), "imagenet")])
def test_no_sum_is_left_to_the_race_of_threads(shape, stem):
    """AddN begins with whichever term has no other user any more: from three terms on it is not repeatable."""
    step = resnet18_step(shape, tiny.CLASSES, stem, 4, 1, "float32", 0.9, 5e-4)
    operations = step._compiled.get_concrete_function().graph.get_operations()
    assert len(operations) > 500
    assert [op.name for op in operations if op.type in ("AddN", "AccumulateNV2") and len(op.inputs) > 2] == []
