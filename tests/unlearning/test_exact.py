"""Exact unlearning: what is left is bit for bit what never saw the rows, and the known ways to fail do not happen."""

import dataclasses
import os
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ensemble import tiny
from tfpdu.common import StopRequested, UserError, files, interrupt
from tfpdu.data import concatenate
from tfpdu.data.views import ViewPolicy
from tfpdu.ensemble import assign_shards
from tfpdu.unlearning import ShardedLearner

TABLE = tiny.records(33)
SHARD, SLICE = assign_shards(TABLE, 2, 3, 0)
SLICED = tiny.settings(slices=3, epochs=4)


def learner(directory, ensemble=SLICED, views=tiny.VIEWS, **changes):
    return ShardedLearner(
        directory, ensemble, views, **{"classes": tiny.CLASSES, "input_shape": tiny.SHAPE, "seed": 0, **changes}
    )


def learn(model, rows=slice(None), weights=None):
    return model.learn(TABLE.take(np.arange(33)[rows]), SHARD[rows], SLICE[rows], weights)


def without(*rows):
    return np.setdiff1d(np.arange(33), rows)


def bits(learned):
    return [files.array_hash(*learned.ensemble.weights(s)) for s in range(len(learned.ensemble))]


def everything(directory):
    """Every file but the clock's: name and hash."""
    found = {}
    for path in sorted(directory.rglob("*")):
        if path.name.endswith(".h5"):
            found[str(path.relative_to(directory))] = files.file_hash(path)
    return found


def test_after_a_deletion_all_is_as_if_the_row_had_never_been(tmp_path):
    row = int(np.flatnonzero((SHARD == 1) & (SLICE == 1))[0])
    model = learner(tmp_path / "a")
    before = bits(learn(model))
    after = learn(model, without(row))
    fresh = learn(learner(tmp_path / "b"), without(row))
    assert bits(after) == bits(fresh)
    assert bits(after)[0] == before[0]
    assert bits(after)[1] != before[1]
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert after.retrained == (1,)
    images = tiny.records(20, seed=9).images
    np.testing.assert_array_equal(after.ensemble.probabilities(images), fresh.ensemble.probabilities(images))


def test_untouched_shards_and_slices_are_not_trained_again(tmp_path):
    model = learner(tmp_path)
    first = learn(model)
    assert first.retrained == (0, 1)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    row = int(np.flatnonzero((SHARD == 0) & (SLICE == 2))[0])
    after = learn(model, without(row))
    kept = {path for path in tmp_path.rglob("*.h5") if path in stamps and path.stat().st_mtime_ns == stamps[path]}
    assert len(kept) == 5  # all three slices of shard 1, two of shard 0
    left = int((SHARD == 0).sum()) - 1
    assert after.row_epochs == left * (SLICED.slice_epochs()[2] - SLICED.slice_epochs()[1])


def test_the_same_table_is_not_trained_twice_and_the_answer_stays(tmp_path):
    first = learn(learner(tmp_path))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    order = np.random.default_rng(0).permutation(33)
    again = learner(tmp_path).learn(TABLE.take(order), SHARD[order], SLICE[order])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")} == stamps
    assert bits(again) == bits(first)
    assert (again.retrained, again.seconds, again.keys) == (first.retrained, first.seconds, first.keys)


@pytest.mark.parametrize("row", range(33))
def test_every_row_is_in_the_key_of_its_slice_and_all_later_ones(tmp_path, row):
    """The reference code's last slice leaves the last n mod R rows out of its hash and never deletes them."""
    model = learner(tmp_path)
    full = model.keys(TABLE, SHARD, SLICE)
    left = without(row)
    keys = model.keys(TABLE.take(left), SHARD[left], SLICE[left])
    for s in range(2):
        for r in range(3):
            changed = s == SHARD[row] and r >= SLICE[row]
            assert (keys[s][r] != full[s][r]) == changed


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 5},
        {"learning_rate": 0.06},
        {"batch": 9},
        {"width": 5},
        {"stem": "imagenet"},
        {"momentum": 0.8},
        {"weight_decay": 0.0},
        {"warmup": 0.2},
        {"label_smoothing": 0.1},
        {"precision": "mixed_bfloat16"},
        {"image_upscale": 2},
    ],
)
def test_all_of_the_training_is_in_the_key(tmp_path, change):
    changed = dataclasses.replace(SLICED, **change)
    assert _disjoint(learner(tmp_path), learner(tmp_path, changed))


def test_the_number_of_slices_the_views_the_seed_and_the_start_are_in_the_key(tmp_path):
    one = dataclasses.replace(SLICED, slices=1)
    zero = np.zeros_like(SLICE)
    plain = learner(tmp_path)
    assert plain.keys(TABLE, SHARD, zero)[0][2] not in learner(tmp_path, one).keys(TABLE, SHARD, zero)[0]
    assert _disjoint(plain, learner(tmp_path, views=ViewPolicy(count=4, flip=True, shift=1)))
    assert _disjoint(plain, learner(tmp_path, seed=1))
    start = {"stem_conv/kernel": np.zeros((3, 3, 1, 4), np.float32)}
    assert _disjoint(plain, learner(tmp_path, initial=start))
    assert not _disjoint(plain, learner(tmp_path, dataclasses.replace(SLICED, aggregate="vote")))


def _disjoint(a, b):
    one, other = (model.keys(TABLE, SHARD, SLICE) for model in (a, b))
    return not {key for keys in one for key in keys} & {key for keys in other for key in keys}


def test_content_label_and_weight_of_a_row_are_in_the_key(tmp_path):
    model = learner(tmp_path)
    full = model.keys(TABLE, SHARD, SLICE)
    images, labels, weights = TABLE.images.copy(), TABLE.labels.copy(), np.ones(33)
    images[4, 0, 0, 0] ^= 1
    labels[4] = (labels[4] + 1) % tiny.CLASSES
    weights[4] = 1 + 1e-15
    for table, row_weights in (
        (dataclasses.replace(TABLE, images=images), None),
        (dataclasses.replace(TABLE, labels=labels), None),
        (TABLE, weights),
    ):
        keys = model.keys(table, SHARD, SLICE, row_weights)
        assert keys[SHARD[4]][2] != full[SHARD[4]][2]
        assert keys[1 - SHARD[4]] == full[1 - SHARD[4]]


def test_a_second_deletion_does_not_bring_the_first_back(tmp_path):
    rows = np.flatnonzero(SHARD == 0)
    model = learner(tmp_path / "a")
    learn(model)
    learn(model, without(rows[0]))
    both = learn(model, without(rows[0], rows[-1]))
    assert bits(both) == bits(learn(learner(tmp_path / "b"), without(rows[0], rows[-1])))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


SUBJECTS = np.arange(33) // 4  # people with four rows each, who ask for all of them


def _remainder(shard: int) -> list[int]:
    """The last n mod R rows of a shard, which a rule that cuts shards into equal slices leaves over."""
    rows = np.flatnonzero(shard == SHARD)
    return rows[len(rows) - len(rows) % 3 :].tolist() or rows[-1:].tolist()


REQUEST = st.one_of(
    st.lists(st.integers(0, 32), min_size=1, max_size=1),
    st.lists(st.integers(0, 32), min_size=2, max_size=12),
    st.lists(st.integers(0, 99), min_size=1, max_size=6),  # some are of no row
    st.integers(0, 8).map(lambda person: np.flatnonzero(person == SUBJECTS).tolist()),
    st.integers(0, tiny.CLASSES - 1).map(lambda label: np.flatnonzero(TABLE.labels == label).tolist()),
    st.integers(0, 1).map(_remainder),
)
REQUESTS = st.lists(REQUEST, min_size=1, max_size=3).map(lambda some: [*some, some[0]])  # the first one comes again


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(REQUESTS)
def test_two_hundred_sequences_of_deletions_end_as_if_the_rows_had_never_been(tmp_path_factory, requests):
    a, b = tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    gone = set()
    model = learner(a)
    for request in requests:
        gone |= set(request) & set(range(33))
        last = learn(model, without(*gone))
    assert bits(last) == bits(learn(learner(b), without(*gone)))
    assert everything(a) == everything(b)


def test_all_rows_of_a_slice_or_of_a_shard_may_go(tmp_path):
    model = learner(tmp_path / "a")
    for rows in (np.flatnonzero((SHARD == 0) & (SLICE == 0)), np.flatnonzero(SHARD == 0)):
        after = learn(model, without(*rows))
    assert len(after.ensemble) == 1
    assert not list((tmp_path / "a" / "shards" / "0").iterdir())
    assert bits(after) == bits(learn(learner(tmp_path / "b"), without(*np.flatnonzero(SHARD == 0))))


def test_a_class_may_be_absent_from_a_shard(tmp_path):
    rows = np.flatnonzero((SHARD == 1) & (TABLE.labels == 2))
    after = learn(learner(tmp_path), without(*rows))
    probabilities = after.ensemble.probabilities(TABLE.images)
    assert probabilities.shape == (33, tiny.CLASSES)
    np.testing.assert_allclose(probabilities.sum(1), 1)


def test_added_rows_are_learned_too(tmp_path):
    model = learner(tmp_path)
    before = bits(learn(model))
    new = tiny.records(1, seed=5, prefix="new")
    table = concatenate([TABLE, new])
    after = model.learn(table, np.append(SHARD, 1), np.append(SLICE, 0))
    assert after.retrained == (1,)
    assert bits(after)[0] == before[0]


def test_nothing_that_saw_a_deleted_row_is_left(tmp_path):
    model = learner(tmp_path)
    old = learn(model).ensemble
    saw = {path.name for path in (tmp_path / "shards" / "1").iterdir()}
    (tmp_path / "shards" / "1" / ".tmp-abc.weights.h5").write_bytes(b"left by a killed process")
    (tmp_path / "shards" / "1" / f"{'0' * 32}.partial.npz").write_bytes(b"an unfinished training")
    learn(model, without(*np.flatnonzero((SHARD == 1) & (SLICE == 0))[:1]))
    left = {path.name for path in (tmp_path / "shards" / "1").iterdir()}
    assert len(left) == 6  # three slices, each with its note
    assert not left & saw
    with pytest.raises(UserError, match="these weights are gone; a later deletion has purged them"):
        old.probabilities(TABLE.images)


def test_what_saw_a_deleted_row_goes_before_the_training_starts(tmp_path):
    model = learner(tmp_path)
    learn(model)
    with interrupt.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested):
            learn(model, without(*np.flatnonzero((SHARD == 1) & (SLICE == 0))[:1]))
    assert not list((tmp_path / "shards" / "1").iterdir())


@pytest.mark.parametrize("stop_after", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_interrupted_anywhere_it_ends_the_same(tmp_path, stop_after, monkeypatch):
    row = int(np.flatnonzero((SHARD == 0) & (SLICE == 1))[0])
    learn(learner(tmp_path / "a"))
    learn(learner(tmp_path / "b"))
    whole = learn(learner(tmp_path / "a"), without(row, *np.flatnonzero(SHARD == 1)[:2]))
    from tfpdu.common.progress import Progress

    epochs = []

    def advance(self, units=1, note=""):
        epochs.append(units)
        if len(epochs) == stop_after:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "advance", advance)
    with pytest.raises(StopRequested), interrupt.deferred():
        learn(learner(tmp_path / "b"), without(row, *np.flatnonzero(SHARD == 1)[:2]))
    resumed = learn(learner(tmp_path / "b"), without(row, *np.flatnonzero(SHARD == 1)[:2]))
    assert bits(resumed) == bits(whole)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert (resumed.retrained, resumed.row_epochs) == (whole.retrained, whole.row_epochs)
    assert not list(tmp_path.rglob("*.partial.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TABLE.take(np.arange(0)), SHARD[:0], SLICE[:0]), "there are no rows to learn from"),
        ((TABLE, SHARD[:5], SLICE), "expected for each of 33 rows a shard in 0..1"),
        ((TABLE, SHARD + 1, SLICE), "expected for each of 33 rows a shard in 0..1"),
        ((TABLE, SHARD, SLICE + 1), "expected for each of 33 rows a slice in 0..2"),
        ((TABLE, SHARD, SLICE, np.full(33, np.nan)), "a finite weight of at least 0"),
        ((dataclasses.replace(TABLE, labels=TABLE.labels + 1), SHARD, SLICE), r"labels must be in 0\.\.2"),
        ((dataclasses.replace(TABLE, images=np.zeros((33, 9, 9, 1), np.uint8)), SHARD, SLICE), "pictures are"),
    ],
)
def test_wrong_arguments_change_nothing_and_are_said_in_one_line(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        learner(tmp_path).learn(*arguments)
    assert not list(tmp_path.rglob("*"))
