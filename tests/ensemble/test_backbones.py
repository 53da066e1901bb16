"""Networks by name: their sizes, their answers by other means, their seeds and files."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy import special

from tests.ensemble import tiny
from tfpdu.common import UserError, files
from tfpdu.ensemble import BACKBONES, build_backbone, build_resnet50, build_small_vit
from tfpdu.ensemble.weights import load_weights, save_weights
from tfpdu.unlearning.methods import clone

SMALL = {
    "resnet18": dict(width=2),
    "resnet50": dict(width=2),
    "small_vit": dict(width=8, depth=2, heads=2),
    "cnn": dict(widths=(4, 6)),
}


def small(name, seed=0, **options):
    return build_backbone(name, tiny.SHAPE, 3, seed, **{**SMALL[name], **options})


def randomised(model):
    """Weights without zeros or ones anywhere, so that nothing cancels."""
    draw = np.random.default_rng(1)
    for weight in model.weights:
        fan = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 1
        value = draw.normal(0, 1 / np.sqrt(fan), weight.shape)
        weight.assign(np.abs(value) + 0.5 if weight.name in ("moving_variance", "gamma") else value)
    return model


def rows(n=6):
    return np.random.default_rng(0).integers(0, 256, (n, *tiny.SHAPE)).astype(np.float32)


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def test_resnet50_has_the_size_that_torchvision_and_keras_give_it():
    """torchvision: 25,557,032 with 2,049,000 in the last layer; Keras': 23,534,592 with 26,560 biases."""
    model = build_resnet50((64, 64, 3), 10, "imagenet")
    assert trainable(model) - 10 * 2049 == 25_557_032 - 2_049_000 == 23_508_032
    theirs = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(64, 64, 3))
    biases = sum(w.shape[0] for w in theirs.trainable_weights if w.name == "bias")
    assert trainable(theirs) - biases == 23_508_032
    shapes = [model.get_layer(f"stage{s}_block{b}_out").output.shape[1:] for s, b in ((1, 3), (2, 4), (3, 6), (4, 3))]
    assert shapes == [(16, 16, 256), (8, 8, 512), (4, 4, 1024), (2, 2, 2048)]
    assert model.get_layer("stage2_block1_1_conv").strides == (1, 1)
    assert model.get_layer("stage2_block1_2_conv").strides == (2, 2)


def test_stem_and_first_stage_of_resnet50_equal_keras_with_the_same_weights():
    """Beyond it the two put the stride elsewhere. With 33 pixels both pad alike on both sides."""
    theirs = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(33, 33, 3))
    theirs = randomised(keras.Model(theirs.inputs[0], theirs.get_layer("conv2_block3_out").output))
    ours = build_resnet50((33, 33, 3), 2, "imagenet")
    ours = keras.Model(ours.get_layer("rescale").output, ours.get_layer("stage1_block3_out").output)
    by_path = {}
    for weight in theirs.weights:
        path = weight.path.replace("conv1_conv", "stem_conv").replace("conv1_bn", "stem_norm")
        path = path.replace("conv2_block", "stage1_block").replace("_bn/", "_norm/").replace("_0_", "_shortcut_")
        if weight.name == "bias":
            weight.assign(0 * weight)
        else:
            by_path[path] = weight
    assert set(by_path) == {weight.path for weight in ours.weights}
    for weight in ours.weights:
        weight.assign(by_path[weight.path])
    x = np.random.default_rng(2).normal(0, 1, (2, 33, 33, 3)).astype(np.float32)
    expected = np.asarray(theirs(x, training=False))
    np.testing.assert_allclose(ours(x, training=False), expected, rtol=2e-3, atol=2e-3)
    assert expected.std() > 0.1


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_resnet50_has_both_stems(stem):
    model = build_resnet50((32, 32, 3), 10, stem, width=4)
    size, last = (3, 4) if stem == "cifar" else (7, 1)
    assert model.get_layer("stem_conv").kernel.shape == (size, size, 3, 4)
    assert model.get_layer("stage4_block3_out").output.shape == (None, last, last, 128)


def test_small_vit_has_the_size_of_its_papers():
    """By hand, d = 192: patches 49 d, tokens 66 d, blocks of 8 d^2 + 8 d, a norm and the logits."""
    d = 192
    by_hand = 49 * d + 66 * d + 9 * (8 * d**2 + 8 * d) + 2 * d + 10 * d + 10
    assert trainable(build_small_vit((32, 32, 3), 10)) == by_hand == 2_692_426
    assert trainable(build_small_vit((64, 64, 3), 200, patch=8)) == pytest.approx(2.8e6, rel=0.02)  # the paper's table


def vit_by_hand(model, x, patch, heads):
    """Lee et al.'s code in plain arithmetic, float64."""
    w = {weight.path: np.asarray(weight, np.float64) for weight in model.weights}
    x = (np.asarray(x, np.float64) / 255 - 0.5) / 0.25  # one channel
    n, h, wide, c = x.shape
    x = (
        x.reshape(n, h // patch, patch, wide // patch, patch, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(n, -1, patch**2 * c)
    )
    x = x @ w["patches/kernel"].reshape(patch**2 * c, -1) + w["patches/bias"]
    x = np.concatenate([np.repeat(w["tokens/class_token"], n, 0), x], 1) + w["tokens/positions"]

    def norm(x, name):
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}_norm/gamma"] + w[f"{name}_norm/beta"]

    for block in ("block1", "block2"):
        q, k, v = np.split(norm(x, f"{block}_attention") @ w[f"{block}_attention_in/kernel"], 3, -1)
        size, mixed = q.shape[-1] // heads, []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[..., part] @ k[..., part].transpose(0, 2, 1) / np.sqrt(size)
            mixed.append(special.softmax(scores, -1) @ v[..., part])
        out = f"{block}_attention_out"
        x = x + np.concatenate(mixed, -1) @ w[f"{out}/kernel"] + w[f"{out}/bias"]
        hidden = norm(x, f"{block}_hidden") @ w[f"{block}_hidden_in/kernel"] + w[f"{block}_hidden_in/bias"]
        hidden = hidden * special.ndtr(hidden)
        x = x + hidden @ w[f"{block}_hidden_out/kernel"] + w[f"{block}_hidden_out/bias"]
    return norm(x[:, 0], "final") @ w["logits/kernel"] + w["logits/bias"]


def test_small_vit_answers_as_worked_out_step_by_step():
    model = randomised(small("small_vit"))
    np.testing.assert_allclose(model(rows()), vit_by_hand(model, rows(), 4, 2), rtol=1e-4, atol=1e-5)


def test_small_vit_starts_with_xavier_kernels():
    model = build_small_vit((32, 32, 3), 10, depth=1)
    kernel = np.asarray(model.get_layer("block1_attention_in").kernel)
    assert kernel.std() == pytest.approx(np.sqrt(2 / (192 + 576)), rel=0.01)  # 110,592 draws: .2 % standard error
    assert np.asarray(model.get_layer("patches").kernel).std() == pytest.approx(np.sqrt(2 / (48 + 192)), rel=0.03)
    assert np.asarray(model.get_layer("tokens").positions).std() == pytest.approx(1, rel=0.03)
    assert not np.asarray(model.get_layer("block1_hidden_in").bias).any()


def test_each_block_of_a_resnet50_starts_as_the_identity():
    model = small("resnet50")
    gammas = {w.path: np.asarray(w) for w in model.weights if w.name == "gamma"}
    zero = {path.rsplit("/", 1)[0] for path, value in gammas.items() if not value.any()}
    counts = {1: 3, 2: 4, 3: 6, 4: 3}
    assert zero == {f"stage{stage}_block{b + 1}_3_norm" for stage, count in counts.items() for b in range(count)}


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow), "small_vit"])
def test_equal_seeds_give_equal_bits_and_a_clone_or_a_file_the_same_network(name, tmp_path):
    model, same, other = small(name, 1), small(name, 1), small(name, 2)
    assert files.weights_hash(model) == files.weights_hash(same) != files.weights_hash(other)
    expected = np.asarray(randomised(model)(rows()))
    assert expected.dtype == np.float32
    assert expected.std() > 0.01
    assert np.array_equal(clone(model)(rows()), expected)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(again(rows()), expected)
    save_weights(model, tmp_path / "w.weights.h5")
    load_weights(other, tmp_path / "w.weights.h5")
    assert np.array_equal(other(rows()), expected)
    laid_over = small(name, weights={w.path: np.asarray(w) for w in model.weights})
    assert np.array_equal(laid_over(rows()), expected)


def test_bfloat16_keeps_float32_weights_and_logits():
    full, half = randomised(small("small_vit")), small("small_vit", precision="mixed_bfloat16")
    half.set_weights(full.get_weights())
    assert {w.dtype for w in half.weights} == {"float32"}
    assert half.layers[-2].output.dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    expected, got = np.asarray(full(rows())), np.asarray(half(rows()))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=0.08 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("resnet5", {}, "backbone: unknown 'resnet5', did you mean 'resnet50'"),
        ("resnet50", {"stem": "cifr"}, "did you mean 'cifar'"),
        ("resnet50", {"width": 0}, "width: expected a number above 0"),
        ("resnet50", {"classes": 1}, "classes: expected at least 2"),
        ("small_vit", {"patch": 3}, "patch=3: expected a divisor of the picture's sides 8 and 8"),
        ("small_vit", {"heads": 3, "width": 4}, "width=4: expected a multiple of heads=3"),
        ("small_vit", {"precision": "float8"}, "precision: unknown 'float8'"),
    ],
)
def test_wrong_arguments_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        build_backbone(name, **{"input_shape": tiny.SHAPE, "classes": 3, **changes})


@pytest.mark.slow
def test_networks_are_the_same_under_jax(tmp_path):
    """A process without TensorFlow draws the same weights and answers the same."""
    expected = {}
    for name in BACKBONES:
        model = small(name, 5)
        expected[f"{name}_hash"] = files.weights_hash(model)
        randomised(model).save(tmp_path / f"{name}.keras")
        expected[name] = np.asarray(model(rows()))
    # Quick to compile, slow to run: what these networks are too small to notice.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.ensemble.under_jax", str(tmp_path)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "said.npz") as said:
        for name in BACKBONES:
            assert str(said[f"{name}_hash"]) == expected[f"{name}_hash"]
            np.testing.assert_allclose(said[name], expected[name], rtol=1e-3, atol=1e-4)
