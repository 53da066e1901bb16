"""Learning, unlearning and evaluating pictures on disk: the same bits as in memory, and a batch read at a time."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.ensemble import tiny
from tfpdu.audit import AuditSettings, audit_members
from tfpdu.common import files
from tfpdu.data import DrawSettings, ImageStore, concatenate, draw, storage
from tfpdu.data.pixel_file import PixelFile
from tfpdu.data.shelf import Shelf
from tfpdu.ensemble import assign_shards
from tfpdu.unlearning import ShardedLearner

SETTINGS = tiny.settings(slices=2, epochs=3)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """The same table in memory and on disk; read at once are at most the 8 rows of a batch, or 64 in evaluation."""
    here = tiny.records(90)
    shape = here.images.shape
    images, _ = Shelf(tmp_path / "cache", 0).fill({"name": "tiny"}, shape, lambda p: p.append(here.images))
    monkeypatch.setattr(storage, "WHOLE_BYTES", 0)
    return here, dataclasses.replace(here, images=images)


@pytest.fixture
def reads(monkeypatch):
    """How many rows were read at once, each time."""
    counts, read = [], PixelFile.read

    def counted(self, rows):
        counts.append(len(rows))
        return read(self, rows)

    monkeypatch.setattr(PixelFile, "read", counted)
    return counts


def learner(directory):
    return ShardedLearner(directory, SETTINGS, tiny.VIEWS, classes=tiny.CLASSES, input_shape=tiny.SHAPE, seed=0)


@pytest.mark.slow
def test_keys_weights_and_answers_have_the_same_bits_before_and_after_a_deletion(pair, tmp_path):
    here, there = (draw(table, DrawSettings(70), 0) for table in pair)
    new = tiny.records(5, seed=7, prefix="new")  # as synthetic rows come: from memory
    here, there = concatenate([here, new]), concatenate([there, new])
    shard, slice_ = assign_shards(here, 2, 2, 0)
    models = [learner(tmp_path / "here"), learner(tmp_path / "there")]
    assert files.array_hash(there.images) == files.array_hash(here.images)
    for left in (np.arange(75), np.setdiff1d(np.arange(75), [3, 30, 72])):
        one, other = (
            model.learn(table.take(left), shard[left], slice_[left])
            for model, table in zip(models, (here, there), strict=True)
        )
        assert isinstance(there.take(left).images, ImageStore)
        assert one.keys == other.keys
        weights = [
            [files.array_hash(*learned.ensemble.weights(s)) for s in range(len(learned.ensemble))]
            for learned in (one, other)
        ]
        assert weights[0] == weights[1]
        np.testing.assert_array_equal(
            one.ensemble.probabilities(here.images), other.ensemble.probabilities(there.images)
        )


def test_the_audit_of_pictures_on_disk_is_that_of_pictures_in_memory(pair, tmp_path):
    shard, slice_ = assign_shards(pair[0], 2, 2, 0)
    ensemble = learner(tmp_path).learn(pair[1], shard, slice_).ensemble
    parts = [np.arange(40), np.arange(40, 65), np.arange(65, 90)]
    results = []
    for table in pair:
        members, calibration, evaluation = (table.take(part) for part in parts)
        settings = AuditSettings(rows=20, least_rows=2, block_rows=10)
        results.append(
            audit_members(
                ensemble.probabilities,
                {"all": members},
                calibration,
                evaluation,
                policy=tiny.VIEWS,
                seed=0,
                settings=settings,
                note=lambda line: None,
            )
        )
    assert results[0] == results[1]
    assert results[0]


def test_no_more_than_a_batch_is_read_at_once(pair, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(storage, "rows_in_block", lambda shape: 16)  # of hashing
    monkeypatch.setattr(files, "HASH_BYTES", 16 * 64)
    table = pair[1]
    files.array_hash(table.images)
    shard, slice_ = assign_shards(table, 2, 2, 0)
    learned = learner(tmp_path).learn(table, shard, slice_)
    assert 8 <= max(reads) <= 16
    learned.ensemble.probabilities(table.images)
    assert max(reads) == 64


@pytest.mark.slow
def test_a_set_beyond_the_limit_of_memory_is_learned_and_one_in_memory_is_not(tmp_path):
    """100,000 pictures, 307 MB, of which an array would be held three times; TensorFlow alone takes 700 of 1,100 MB."""
    script = Path(__file__).parents[2] / "benchmarks" / "memory.py"
    command = [sys.executable, str(script), "--rows=100000", "--limit_mb=1100", f"--cache={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1])}
    output = tmp_path / "memory.json"
    done = subprocess.run([*command, f"--output={output}"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(output.read_text())
    assert (result["learned"], result["forgotten"]) == (90000, 900)
    assert result["peak_data_mb"] < 1100
    assert result["test_accuracy"] > 0.2
    done = subprocess.run([*command, "--in_memory"], capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "MemoryError" in done.stderr or "bad_alloc" in done.stderr or "Cannot allocate" in done.stderr
