"""The network against keras-cv's, its seeds, its files, its precisions."""

import keras
import numpy as np
import pytest

from tests.ensemble import tiny
from tfpdu.common import UserError, files
from tfpdu.ensemble import build_resnet18
from tfpdu.ensemble.weights import load_weights, save_weights


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)


def _randomise(model):
    """Weights without zeros or ones anywhere, so that nothing cancels."""
    random = np.random.default_rng(1)
    for v in model.weights:
        fan = np.prod(v.shape[:-1]) if len(v.shape) > 1 else 1
        value = random.normal(0, 1 / np.sqrt(fan), v.shape)
        v.assign(np.abs(value) + 0.5 if "variance" in v.path or "gamma" in v.path else value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("size", [32, 72])
def test_equals_keras_cv_with_the_same_weights(size):
    from keras_cv.models import ResNetBackbone

    theirs = ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[2, 2, 2, 2],
        stackwise_strides=[1, 2, 2, 2],
        include_rescaling=False,
        input_shape=(size, size, 3),
        block_type="basic_block",
    )
    assert theirs.count_params() == 11_186_112
    ours = build_resnet18((size, size, 3), 10, "imagenet")
    backbone = keras.Model(ours.get_layer("rescale").output, ours.get_layer("stage4_block2_out").output)
    assert backbone.count_params() == 11_186_112
    _randomise(theirs)
    by_name = {  # v2_stack_0_block1_1_conv -> stage1_block1_1_conv, the shortcut is their number 0
        v.path.replace("conv1_", "stem_").replace("_bn/", "_norm/"): v for v in theirs.weights
    }
    for stage in range(4):
        for old in [name for name in by_name if name.startswith(f"v2_stack_{stage}_")]:
            new = old.replace(f"v2_stack_{stage}", f"stage{stage + 1}").replace("_0_", "_shortcut_")
            by_name[new] = by_name.pop(old)
    assert set(by_name) == {v.path for v in backbone.weights}
    for v in backbone.weights:
        v.assign(by_name[v.path])
    x = np.random.default_rng(2).normal(0, 1, (4, size, size, 3)).astype(np.float32)
    for training in (False, True):
        expected = np.asarray(theirs(x, training=training))
        np.testing.assert_allclose(np.asarray(backbone(x, training=training)), expected, rtol=2e-3, atol=2e-3)
        assert expected.std() > 0.1


def test_stems_have_their_sizes():
    cifar, imagenet = (build_resnet18((32, 32, 3), 10, stem, width=8) for stem in ("cifar", "imagenet"))
    assert cifar.get_layer("stem_conv").kernel.shape == (3, 3, 3, 8)
    assert imagenet.get_layer("stem_conv").kernel.shape == (7, 7, 3, 8)
    assert cifar.get_layer("stage4_block2_out").output.shape == (None, 4, 4, 64)
    assert imagenet.get_layer("stage4_block2_out").output.shape == (None, 1, 1, 64)


def test_equal_seeds_give_equal_bits():
    a, b, c = (build_resnet18(tiny.SHAPE, 3, width=4, seed=seed) for seed in (1, 1, 2))
    assert files.weights_hash(a) == files.weights_hash(b) != files.weights_hash(c)


def test_initial_kernels_have_he_variance():
    kernel = build_resnet18(tiny.SHAPE, 3, width=32).get_layer("stage2_block1_2_conv").kernel
    assert np.std(np.asarray(kernel)) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.02)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_saved_and_loaded_it_answers_the_same(pixels, tmp_path, precision):
    model = build_resnet18((32, 32, 3), 10, "imagenet", width=8, precision=precision, upscale=2)
    _randomise(model)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(np.asarray(model(pixels)), np.asarray(again(pixels)))


def test_bfloat16_keeps_float32_weights_and_logits(pixels):
    full = build_resnet18((32, 32, 3), 10, "imagenet", width=8)
    _randomise(full)
    half = build_resnet18((32, 32, 3), 10, "imagenet", width=8, precision="mixed_bfloat16")
    half.set_weights(full.get_weights())
    assert {v.dtype for v in half.weights} == {"float32"}
    assert half.get_layer("stage1_block1_out").output.dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    expected, got = np.asarray(full(pixels)), np.asarray(half(pixels))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.05 * np.abs(expected).max())


def test_upscaling_makes_larger_maps():
    model = build_resnet18((32, 32, 3), 10, "imagenet", width=8, upscale=2)
    assert model.get_layer("stage4_block2_out").output.shape == (None, 2, 2, 64)


def test_given_weights_are_laid_over_where_they_fit():
    source = build_resnet18(tiny.SHAPE, 5, width=4, seed=7)
    arrays = {v.path: np.asarray(v) for v in source.weights}
    model = build_resnet18(tiny.SHAPE, 3, width=4, seed=8, weights=arrays)
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, source.get_layer("stem_conv").kernel)
    fresh = build_resnet18(tiny.SHAPE, 3, width=4, seed=8)
    np.testing.assert_array_equal(model.get_layer("logits").kernel, fresh.get_layer("logits").kernel)


def test_given_weights_can_be_a_file(tmp_path):
    source = build_resnet18(tiny.SHAPE, 3, width=4, seed=7)
    files.save_weights(source, tmp_path / "w.weights.h5")
    assert files.weights_hash(build_resnet18(tiny.SHAPE, 3, width=4, weights=tmp_path / "w.weights.h5")) == (
        files.weights_hash(source)
    )
    with pytest.raises(UserError, match=r"w\.weights\.h5: not the weights of this network"):
        build_resnet18(tiny.SHAPE, 3, width=8, weights=tmp_path / "w.weights.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem": "cifr"}, "did you mean 'cifar'"),
        ({"classes": 1}, "classes: expected at least 2"),
        ({"width": 0}, "width: expected a number above 0"),
        ({"precision": "float8"}, "precision: unknown 'float8'"),
        ({"weights": {"nothing": np.zeros(3)}}, "no array has the path and shape"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build_resnet18(**{"input_shape": tiny.SHAPE, "classes": 3, "width": 4, **changes})


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_weight_files_are_those_of_keras(tmp_path, stem):
    model = build_resnet18((32, 32, 3), 10, stem, width=4, seed=1, upscale=2)
    save_weights(model, tmp_path / "ours.weights.h5")
    model.save_weights(tmp_path / "theirs.weights.h5")
    digest = files.weights_hash(model)
    for read, name in ((keras.Model.load_weights, "ours"), (load_weights, "theirs"), (load_weights, "ours")):
        other = build_resnet18((32, 32, 3), 10, stem, width=4, seed=2, upscale=2)
        read(other, tmp_path / f"{name}.weights.h5")
        assert files.weights_hash(other) == digest
    first = (tmp_path / "ours.weights.h5").read_bytes()
    save_weights(model, tmp_path / "ours.weights.h5")
    assert (tmp_path / "ours.weights.h5").read_bytes() == first


def test_a_cut_off_file_is_refused(tmp_path):
    model = build_resnet18(tiny.SHAPE, 3, width=4)
    save_weights(model, tmp_path / "w.weights.h5")
    content = (tmp_path / "w.weights.h5").read_bytes()
    (tmp_path / "w.weights.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="not the weights of this network"):
        load_weights(model, tmp_path / "w.weights.h5")
    with pytest.raises(UserError, match="no such file"):
        load_weights(model, tmp_path / "none.weights.h5")
