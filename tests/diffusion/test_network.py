"""The U-Net: shapes, precision, seeds, serialisation, and what it is conditioned on."""

import keras
import numpy as np
import pytest
from keras import ops

from tfpdu.common import UserError
from tfpdu.common.files import weights_hash
from tfpdu.common.seeds import rng
from tfpdu.diffusion import Architecture, build_network
from tfpdu.diffusion.layers import Condition, FiLM, Fold, NoiseFeatures, PixelNorm, SelfAttention, Unfold

SMALL = {"widths": (8, 32), "embedding": 16}


def inputs(architecture, n=3, seed=0):
    draw = rng("inputs", seed)
    return [
        draw.standard_normal((n, *architecture.image_shape), dtype=np.float32),
        draw.standard_normal(n, dtype=np.float32),
        draw.integers(-1, architecture.classes, n).astype(np.int32),
        np.stack([draw.integers(-1, k, n) for k in architecture.cardinalities], -1).astype(np.int32)
        if architecture.cardinalities
        else np.zeros((n, 0), np.int32),
    ]


def answer(network, values):
    return ops.convert_to_numpy(ops.cast(network(values, training=False), "float32"))


def stir(network, seed=0):
    """Gives every weight a value, so that nothing hides behind the zero-initialised layers."""
    draw = rng("stir", seed)
    network.set_weights([draw.normal(0, 0.1, w.shape).astype(np.float32) for w in network.get_weights()])
    return network


@pytest.mark.parametrize(
    ("shape", "fold", "widths"),
    [((8, 8, 1), 1, (8, 32)), ((32, 32, 3), 2, (8, 8, 32)), ((64, 64, 3), 4, (8, 8, 32)), ((12, 8, 3), 2, (8, 32))],
)
def test_image_sizes(shape, fold, widths):
    architecture = Architecture(shape, 4, (2, 3), widths=widths, fold=fold, embedding=16)
    values = answer(stir(build_network(architecture)), inputs(architecture, 2))
    assert values.shape == (2, *shape)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("cardinalities", [(), (2,), (2, 5, 3)])
def test_any_number_of_attributes(cardinalities):
    architecture = Architecture((8, 8, 1), 3, cardinalities, fold=1, precision="float32", **SMALL)
    network = stir(build_network(architecture))
    values = inputs(architecture)
    before = answer(network, values)
    for column in range(len(cardinalities)):
        changed = values[3].copy()
        changed[:, column] = np.where(changed[:, column] == 0, -1, 0)
        assert np.all(np.abs(answer(network, [*values[:3], changed]) - before).max(axis=(1, 2, 3)) > 1e-4)
    assert np.abs(answer(network, [*values[:2], (values[2] + 2) % 3, values[3]]) - before).max() > 1e-4
    assert np.abs(answer(network, [values[0], values[1] + 0.3, *values[2:]]) - before).max() > 1e-4


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_weights_are_float32_in_either_precision(precision):
    architecture = Architecture((8, 8, 1), 3, (2,), fold=1, precision=precision, **SMALL)
    network = build_network(architecture)
    assert {w.dtype for w in network.weights} == {"float32"}
    compute = network.get_layer("down0_0_conv1").compute_dtype
    assert compute == ("float32" if precision == "float32" else "bfloat16")


def test_both_precisions_agree_roughly():
    networks = {
        p: stir(build_network(Architecture((8, 8, 1), 3, (2,), fold=1, precision=p, **SMALL)))
        for p in ("float32", "mixed_bfloat16")
    }
    values = inputs(Architecture((8, 8, 1), 3, (2,), fold=1, **SMALL))
    exact, rough = (answer(network, values) for network in networks.values())
    assert np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


def test_equal_seeds_give_equal_weights():
    architecture = Architecture((8, 8, 1), 3, fold=1, **SMALL)
    hashes = [weights_hash(build_network(architecture, seed)) for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_network_is_rebuilt_from_its_config():
    architecture = Architecture((8, 8, 1), 3, (2, 3), fold=2, **SMALL)
    network = stir(build_network(architecture))
    twin = keras.Model.from_config(network.get_config())
    twin.set_weights(network.get_weights())
    values = inputs(architecture)
    np.testing.assert_array_equal(answer(network, values), answer(twin, values))


def test_network_survives_a_keras_file(tmp_path):
    architecture = Architecture((8, 8, 1), 3, (2,), fold=1, **SMALL)
    network = stir(build_network(architecture))
    network.save(tmp_path / "network.keras")
    twin = keras.models.load_model(tmp_path / "network.keras", safe_mode=True)
    values = inputs(architecture)
    np.testing.assert_array_equal(answer(network, values), answer(twin, values))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("layer", "arguments", "shapes"),
    [
        (Fold, {"factor": 2}, [(2, 4, 6, 3)]),
        (Unfold, {"factor": 2}, [(2, 2, 3, 12)]),
        (PixelNorm, {}, [(2, 4, 4, 8)]),
        (FiLM, {}, [(2, 4, 4, 8), (2, 16)]),
        (NoiseFeatures, {"width": 8}, [(2,)]),
        (SelfAttention, {"head_width": 4}, [(2, 4, 4, 24)]),
    ],
)
def test_layers_serialise_and_keep_their_precision(layer, arguments, shapes, dtype):
    first = layer(**arguments, dtype=dtype)
    second = layer.from_config(first.get_config())
    tensors = [rng("layer", i).standard_normal(shape, dtype=np.float32) for i, shape in enumerate(shapes)]
    tensors = tensors[0] if len(tensors) == 1 else tensors
    a, b = first(tensors), second(tensors)
    np.testing.assert_array_equal(*(ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b)))
    assert keras.backend.standardize_dtype(a.dtype) == first.compute_dtype


def test_fold_and_unfold_are_inverse_and_keep_neighbours_together():
    x = np.arange(2 * 4 * 6 * 3, dtype=np.float32).reshape(2, 4, 6, 3)
    folded = ops.convert_to_numpy(Fold(2)(x))
    assert folded.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(np.sort(folded[0, 0, 0]), np.sort(x[0, :2, :2].ravel()))
    np.testing.assert_array_equal(ops.convert_to_numpy(Unfold(2)(folded)), x)


def test_pixel_norm_gives_unit_mean_square():
    x = rng("pixels").normal(3, 5, (2, 4, 4, 16)).astype(np.float32)
    y = ops.convert_to_numpy(PixelNorm()(x))
    np.testing.assert_allclose(np.mean(y**2, axis=-1), 1, rtol=1e-4)
    np.testing.assert_allclose(y / x, (y / x)[..., :1] * np.ones(16), rtol=1e-4)  # the direction stays


def test_attention_against_a_plain_loop():
    qkv = rng("attention").standard_normal((1, 2, 3, 24), dtype=np.float32)
    found = ops.convert_to_numpy(SelfAttention(4)(qkv))[0].reshape(6, 8)
    rows = qkv.reshape(6, 3, 2, 4).astype(np.float64)
    unit = rows / np.sqrt(np.mean(rows**2, axis=-1, keepdims=True) + 1e-6)
    for head in range(2):
        for i in range(6):
            logits = np.array([unit[i, 0, head] @ unit[j, 1, head] / 2 for j in range(6)])
            share = np.exp(logits) / np.exp(logits).sum()
            np.testing.assert_allclose(found[i, 4 * head : 4 * head + 4], share @ rows[:, 2, head], atol=1e-5)


def test_condition_marks_one_place_a_part():
    layer = Condition.from_config(Condition(3, (2, 4)).get_config())
    rows = ops.convert_to_numpy(layer([np.array([-1, 2]), np.array([[0, -1], [1, 3]])]))
    np.testing.assert_array_equal(rows, [[1, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_shape": (30, 32, 3)}, "multiples of 8"),
        ({"widths": (8, 8, 33)}, "expected a multiple of 32, got 33"),
        ({"widths": ()}, "at least one level"),
        ({"precision": "float16"}, "did you mean"),
        ({"blocks": 0}, "blocks"),
    ],
)
def test_impossible_architectures_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Architecture(**{"image_shape": (32, 32, 3), "classes": 10, **changes})
