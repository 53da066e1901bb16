"""A conversion from torchvision's names: block by block the arithmetic of the original, and every gap is told."""

import numpy as np
import pytest

from tests.commands import command
from tests.ensemble.test_torchvision import state_dict
from tfpdu.common import UserError
from tfpdu.ensemble import build_resnet18, read_initial
from tfpdu.ensemble.conversion import convert, forward_differences
from tfpdu.ensemble.plain_resnet import plain_basic_block, plain_stem
from tfpdu.ensemble.torchvision import keras_hub_state, read_state


@pytest.fixture(scope="module")
def state():
    """Weights with a spread like trained ones, so that no block saturates."""
    draw = np.random.default_rng(1)
    found = {}
    for key, array in state_dict().items():
        fan = int(np.prod(array.shape[1:])) if array.ndim > 1 else 1
        scale = np.sqrt(2 / fan) if array.ndim > 1 else 1.0
        values = draw.normal(0, scale, array.shape) if array.ndim > 1 else draw.uniform(0.5, 1.5, array.shape)
        found[key] = values.astype(np.float32)
    return found


@pytest.fixture(scope="module")
def converted(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "resnet18.weights.h5"
    return path, *convert(state, "state", path)


def test_every_block_computes_what_the_original_computes(state, converted):
    _, table, model = converted
    apart = forward_differences(model, state)
    assert list(apart) == [block.name for block in sorted(table, key=lambda b: (b.name != "stem", b.name))]
    assert max(apart.values()) < 1e-5


def test_the_comparison_sees_a_wrong_block(state, converted):
    other = {**state, "layer3.1.conv2.weight": state["layer3.1.conv2.weight"] * 1.01}
    apart = forward_differences(converted[2], other)
    assert [name for name, value in apart.items() if value > 1e-4] == ["stage3_block2"]


@pytest.mark.slow
def test_the_plain_blocks_are_those_of_pytorch(state):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    draw = np.random.default_rng(2)

    def norm(x, name):
        leaves = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(tensors[f"{name}.{leaf}"] for leaf in leaves), training=False)

    pictures = draw.normal(size=(1, 16, 16, 3)).astype(np.float32)
    x = functional.conv2d(torch.from_numpy(pictures.transpose(0, 3, 1, 2)), tensors["conv1.weight"], None, 2, 3)
    x = functional.max_pool2d(functional.relu(norm(x, "bn1")), 3, 2, 1)
    np.testing.assert_allclose(plain_stem(pictures, state), x.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
    features = draw.normal(size=(1, 6, 6, 64)).astype(np.float32)
    x = torch.from_numpy(features.transpose(0, 3, 1, 2))
    y = functional.relu(norm(functional.conv2d(x, tensors["layer2.0.conv1.weight"], None, 2, 1), "layer2.0.bn1"))
    y = norm(functional.conv2d(y, tensors["layer2.0.conv2.weight"], None, 1, 1), "layer2.0.bn2")
    y = functional.relu(
        y + norm(functional.conv2d(x, tensors["layer2.0.downsample.0.weight"], None, 2), "layer2.0.downsample.1")
    )
    ours = plain_basic_block(features, state, "layer2.0", 2)
    np.testing.assert_allclose(ours, y.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-4)


def test_the_file_starts_a_network_of_other_classes(converted, state):
    weights = read_initial(converted[0])
    model = build_resnet18((32, 32, 3), 10, "torchvision", weights=weights)
    np.testing.assert_array_equal(
        model.get_layer("stage2_block1_1_conv").kernel[2, 0, 5, 7], state["layer2.0.conv1.weight"][7, 5, 2, 0]
    )
    whole = build_resnet18((32, 32, 3), 1000, "torchvision", weights=converted[0])
    np.testing.assert_array_equal(whole.get_layer("logits").kernel, state["fc.weight"].T)


def test_a_missing_block_is_told_and_is_the_identity(state, tmp_path):
    partial = {key: array for key, array in state.items() if not key.startswith(("layer4.1", "fc"))}
    np.savez(tmp_path / "partial.npz", **partial)
    table, model = convert(read_state(tmp_path / "partial.npz"), "partial.npz", None)
    states = {block.name: block.state for block in table}
    assert states.pop("stage4_block2") == "identity"
    assert set(states.values()) == {"found"}
    assert forward_differences(model, partial)["stage4_block2"] == 0


def test_a_block_that_was_drawn_is_told_and_not_compared(state):
    partial = {key: array for key, array in state.items() if not key.startswith("layer3.0.downsample")}
    table, model = convert(partial, "partial", None)
    assert {block.name for block in table if block.state == "drawn"} == {"stage3_block1"}
    with pytest.raises(UserError, match="stage3_block1: there is nothing to compare it with, stage3_block1_shortcut"):
        forward_differences(model, partial)


def test_safetensors_and_npz_give_the_same(state, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    half = {
        key: array.astype(np.float16) for key, array in state.items() if key.startswith(("conv1", "layer1.0", "bn1"))
    }
    numpy.save_file(half, tmp_path / "w.safetensors")
    np.savez(tmp_path / "w.npz", **half)
    one, other = read_state(tmp_path / "w.safetensors"), read_state(tmp_path / "w.npz")
    assert set(one) == set(other) == set(half)
    assert all(np.array_equal(one[key], other[key]) and one[key].dtype == np.float32 for key in half)


def test_keras_hubs_layers_find_their_places(state):
    """A stand-in with keras-hub's layer names (ResNetBackbone) and layouts; the preset itself needs a network."""

    class Layer:
        def __init__(self, name, *arrays):
            self.name, self.weights = name, arrays

        def get_weights(self):
            return list(self.weights)

    def norm(name):
        return [state[f"{name}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")]

    layers = [Layer("conv1_conv", state["conv1.weight"].transpose(2, 3, 1, 0)), Layer("conv1_bn", *norm("bn1"))]
    layers += [Layer("conv1_pad"), Layer("normalization", np.zeros(3))]
    for stage in range(4):
        for block in range(2):
            ours, theirs = f"stack{stage}_block{block}", f"layer{stage + 1}.{block}"
            for part in (1, 2):
                layers.append(Layer(f"{ours}_{part}_conv", state[f"{theirs}.conv{part}.weight"].transpose(2, 3, 1, 0)))
                layers.append(Layer(f"{ours}_{part}_bn", *norm(f"{theirs}.bn{part}")))
            if stage and not block:
                shortcut = state[f"{theirs}.downsample.0.weight"].transpose(2, 3, 1, 0)
                layers += [Layer(f"{ours}_0_conv", shortcut), Layer(f"{ours}_0_bn", *norm(f"{theirs}.downsample.1"))]
    preset = type("Preset", (), {"layers": layers})
    found = keras_hub_state("resnet_18_imagenet", load=lambda name: preset)
    expected = {k for k in state if not k.startswith("fc") and not k.endswith("num_batches_tracked")}
    assert set(found) == expected
    assert all(np.array_equal(found[key], state[key]) for key in expected)


def test_what_cannot_be_converted_is_said_in_one_line(tmp_path):
    (tmp_path / "w.pth").write_text("")
    with pytest.raises(UserError, match=r"w.pth: expected a file of torchvision's names"):
        read_state(tmp_path / "w.pth")
    (tmp_path / "w.safetensors").write_text("no such thing")
    with pytest.raises(UserError, match=r"not a [.]safetensors file"):
        read_state(tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="keras-hub does not give it"):
        keras_hub_state("resnet_18_imagenet", load=lambda name: 1 / 0)


def test_without_keras_hub_one_line_says_so():
    if __import__("importlib").util.find_spec("keras_hub"):
        pytest.skip("keras-hub is installed")
    with pytest.raises(UserError, match=r"keras-hub is not installed; pip install 'tfpdu\[pretrained\]'"):
        read_state("keras_hub:resnet_18_imagenet")


@pytest.mark.slow
def test_the_command_prints_a_line_a_block_and_checks_each(state, tmp_path):
    partial = {key: array for key, array in state.items() if not key.startswith("layer4.1")}
    np.savez(tmp_path / "partial.npz", **partial)
    words = [f"--from={tmp_path / 'partial.npz'}", f"--output={tmp_path / 'out.weights.h5'}", "--check"]
    done = command("scripts/convert_resnet18.py", *words)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["block", "found", "missing", "other", "shape", "at", "first", "forward", "difference"]
    assert [line[0] for line in lines[1:10]][::8] == ["stem", "stage4_block2"]
    assert lines[9] == ["stage4_block2", "0", "10", "0", "identity", "0.0e+00"]
    assert lines[-1] == [str(tmp_path / "out.weights.h5")]
    assert "stem_conv/kernel" in read_initial(tmp_path / "out.weights.h5")
