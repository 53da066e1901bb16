"""Weights to start from: what a file covers, what stays frozen, and that deletions are as exact as without."""

import dataclasses

import numpy as np
import pytest

from tests.ensemble import tiny
from tfpdu.common import UserError
from tfpdu.ensemble import build_resnet18
from tfpdu.ensemble.resnet import freeze, stage_of
from tfpdu.ensemble.transfer import blocks, initial_weights, read_initial
from tfpdu.ensemble.weights import save_weights
from tfpdu.material import content_of_initial, refuse_other_initial
from tfpdu.unlearning import ShardedLearner


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Of a network of another number of classes, with statistics that no training here would give."""
    path = tmp_path_factory.mktemp("weights") / "start.weights.h5"
    model = build_resnet18(tiny.SHAPE, 7, width=4, seed=99)
    random = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(random.uniform(0.2, 0.4, variable.shape))
    save_weights(model, path)
    return path


def learner(directory, settings):
    return ShardedLearner(directory, settings, tiny.VIEWS, classes=tiny.CLASSES, input_shape=tiny.SHAPE, seed=3)


def learned(directory, settings, table):
    shard = np.array([int(row[-1]) % 2 for row in table.ids.tolist()], np.int32)
    return learner(directory, settings).learn(table, shard, np.zeros(len(table), np.int32))


def weights_of(result, shard=0):
    model = result.ensemble.model(shard)
    return {v.path: np.array(v) for v in model.weights}


def test_the_file_gives_every_weight_but_the_logits(weights_file):
    found = read_initial(weights_file)
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4)
    assert {v.path for v in model.weights} - set(found) == {"logits/kernel", "logits/bias"}
    assert {block.state for block in blocks(found, model)} == {"found"}
    assert blocks(found, model)[0].name == "stem"
    assert sum(block.found for block in blocks(found, model)) == len(model.weights) - 2


def test_a_missing_branch_is_the_identity_and_a_missing_shortcut_is_drawn(weights_file):
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4)
    whole = read_initial(weights_file)
    without = lambda start: {k: v for k, v in whole.items() if not k.startswith(start)}  # noqa: E731
    state = lambda arrays, name: {b.name: b.state for b in blocks(arrays, model)}[name]  # noqa: E731
    assert state(without("stage4_block2"), "stage4_block2") == "identity"
    assert state(without("stage4_block1_"), "stage4_block1") == "drawn"
    assert state(without("stage4_block1_2"), "stage4_block1") == "shortcut alone"
    assert state(without("stage3_block2_1_conv"), "stage3_block2") == "drawn"
    assert state({**whole, "stage2_block2_2_norm/gamma": np.zeros(8)}, "stage2_block2") == "identity"
    assert state({**whole, "stem_conv/kernel": np.zeros((7, 7, 1, 4))}, "stem") == "drawn"


def test_a_missing_branch_passes_its_input_on(weights_file):
    arrays = {k: v for k, v in read_initial(weights_file).items() if not k.startswith("stage4_block2")}
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4, weights=arrays)
    import keras

    inner = keras.Model(model.input, [model.get_layer(f"stage4_block{b}_out").output for b in (1, 2)])
    before, after = inner(tiny.records(4).images.astype(np.float32))
    np.testing.assert_array_equal(before, after)
    assert np.any(np.asarray(before) > 0)


@pytest.mark.parametrize("frozen", [0, 2])
def test_a_deletion_equals_training_without_the_rows_from_the_same_weights(weights_file, tmp_path, frozen):
    settings = tiny.settings(initial=str(weights_file), freeze=frozen)
    table = tiny.records(32)
    gone = table.ids[[1, 7, 16, 22]]
    rest = table.without(gone.tolist())
    first = learned(tmp_path / "deleted", settings, table)
    after = learned(tmp_path / "deleted", settings, rest)
    never = learned(tmp_path / "never", settings, rest)
    artefacts = [learner(tmp_path / name, settings).artefacts() for name in ("deleted", "never")]
    assert artefacts[0] == artefacts[1]
    assert len(artefacts[0]) == 2
    assert first.keys != after.keys == never.keys


def test_frozen_stages_keep_weights_and_statistics_and_the_rest_learns(weights_file, tmp_path):
    result = learned(tmp_path, tiny.settings(initial=str(weights_file), freeze=2), tiny.records(32))
    start, end = read_initial(weights_file), weights_of(result)
    for path, array in start.items():
        same = np.array_equal(array, end[path])
        assert same == (stage_of(path) <= 2), path


def test_nothing_is_frozen_by_default(weights_file, tmp_path):
    result = learned(tmp_path, tiny.settings(initial=str(weights_file)), tiny.records(32))
    end = weights_of(result)
    assert not any(np.array_equal(array, end[path]) for path, array in read_initial(weights_file).items())


def test_the_key_knows_the_content_of_the_weights_and_not_their_place(weights_file, tmp_path):
    table, zeros = tiny.records(16), np.zeros(16, np.int32)
    keys = lambda **change: learner(tmp_path, tiny.settings(**change)).keys(table, zeros, zeros)[0][0]  # noqa: E731
    elsewhere = tmp_path / "copy.weights.h5"
    elsewhere.write_bytes(weights_file.read_bytes())
    other = tmp_path / "other.weights.h5"
    save_weights(build_resnet18(tiny.SHAPE, 3, width=4, seed=5), other)
    started = keys(initial=str(weights_file))
    assert started == keys(initial=str(elsewhere))
    assert len({started, keys(), keys(initial=str(other)), keys(initial=str(weights_file), freeze=1)}) == 4


def test_settings_without_the_new_fields_have_the_keys_they_had():
    assert not {"initial", "freeze"} & set(tiny.settings().training())


def test_freezing_counts_stages_from_the_pictures():
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4)
    left = []
    for stages in range(5):
        freeze(model, stages)
        left.append({v.path.partition("_")[0] for v in model.trainable_variables})
    names = ["stage1", "stage2", "stage3", "stage4"]
    assert left[0] == {"stem", *names, "logits/kernel", "logits/bias"}
    assert left[1] == {*names[1:], "logits/kernel", "logits/bias"}
    assert left[4] == {"logits/kernel", "logits/bias"}


def test_what_cannot_be_started_from_is_said_in_one_line(weights_file, tmp_path):
    model = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=4)
    with pytest.raises(UserError, match="freeze=1: expected initial"):
        tiny.settings(freeze=1)
    with pytest.raises(UserError, match=r"nothing.h5: no such file"):
        read_initial(tmp_path / "nothing.h5")
    (tmp_path / "broken.h5").write_text("no weights")
    with pytest.raises(UserError, match="no weights that tfpdu wrote"):
        read_initial(tmp_path / "broken.h5")
    wide = build_resnet18(tiny.SHAPE, tiny.CLASSES, width=8)
    with pytest.raises(UserError, match="fits no weight of this network"):
        initial_weights(tiny.settings(initial=str(weights_file)), wide)
    large = build_resnet18((32, 32, 1), tiny.CLASSES, "torchvision", width=4)
    assert initial_weights(tiny.settings(initial=str(weights_file)), large) is not None
    with pytest.raises(UserError, match="would keep stem as drawn, since stem_conv/kernel has another shape"):
        initial_weights(tiny.settings(initial=str(weights_file), freeze=1), large)
    assert initial_weights(tiny.settings(), model) is None


def test_a_single_model_of_the_same_kind_starts_from_the_same_weights(weights_file):
    settings = tiny.settings(initial=str(weights_file), freeze=3)
    assert dataclasses.replace(settings, epochs=3).one_model().freeze == 3
    assert settings.one_model().initial == str(weights_file)


def test_a_run_knows_its_weights_by_content(weights_file, tmp_path):
    copy = tmp_path / "copy.weights.h5"
    copy.write_bytes(weights_file.read_bytes())
    settings = tiny.settings(initial=str(copy))
    manifest = content_of_initial(settings)
    refuse_other_initial(settings, manifest)
    refuse_other_initial(tiny.settings(), content_of_initial(tiny.settings()))
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(UserError, match="another file than the run was begun with"):
        refuse_other_initial(settings, manifest)
    copy.unlink()
    with pytest.raises(UserError, match=r"copy\.weights\.h5: no such file"):
        content_of_initial(settings)
