"""Weights from a torchvision state dict: every one finds its place, and the numbers are those of the original."""

import os
from pathlib import Path

import numpy as np
import pytest

from tfpdu.common import UserError
from tfpdu.ensemble import build_resnet18
from tfpdu.ensemble.torchvision import torchvision_resnet18


def state_dict() -> dict[str, np.ndarray]:
    """Random arrays with torchvision's names and shapes (He et al., 2016; torchvision.models.resnet18)."""
    draw = np.random.default_rng(0)
    arrays = {"conv1.weight": (64, 3, 7, 7), **norm("bn1", 64), "fc.weight": (1000, 512), "fc.bias": (1000,)}
    before = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            arrays |= {f"{name}.conv1.weight": (width, before, 3, 3), f"{name}.conv2.weight": (width, width, 3, 3)}
            arrays |= {**norm(f"{name}.bn1", width), **norm(f"{name}.bn2", width)}
            if stage > 1 and not block:
                arrays |= {f"{name}.downsample.0.weight": (width, before, 1, 1), **norm(f"{name}.downsample.1", width)}
            before = width
    return {key: draw.uniform(0.5, 1, shape).astype(np.float32) for key, shape in arrays.items()}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{leaf}": (width,) for leaf in ("weight", "bias", "running_mean", "running_var")} | {
        f"{name}.num_batches_tracked": ()
    }


def test_every_weight_but_the_last_layer_is_set(tmp_path):
    state = state_dict()
    np.savez(tmp_path / "weights.npz", **state)
    weights = torchvision_resnet18(tmp_path / "weights.npz")
    model = build_resnet18((64, 64, 3), 10, "imagenet", weights=weights)
    assert {v.path for v in model.weights} - set(weights) == {"logits/kernel", "logits/bias"}
    set_ = {v.path: v.numpy() for v in model.weights}
    assert all(np.array_equal(set_[path], array) for path, array in weights.items())
    np.testing.assert_array_equal(
        set_["stage2_block1_1_conv/kernel"][2, 0, 5, 7], state["layer2.0.conv1.weight"][7, 5, 2, 0]
    )
    np.testing.assert_array_equal(
        set_["stage4_block1_shortcut_norm/moving_variance"], state["layer4.0.downsample.1.running_var"]
    )


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(UserError, match=r"other.npz: no weights of torchvision's ResNet-18"):
        torchvision_resnet18(tmp_path / "other.npz")


@pytest.fixture
def data():
    """The directory with ImageNet weights and pictures, beside TFDS_DATA_DIR."""
    directory = os.environ.get("TFDS_DATA_DIR")
    data = Path(directory or "").parent
    if not directory or not (data / "resnet18_imagenet_partial.npz").exists():
        pytest.skip("needs ImageNet weights beside TFDS_DATA_DIR")
    return data


def nearest_mean_accuracy(data, stem, upscale, each):
    """Share of pictures whose nearest class mean, on pooled features, is their own; half of `each` a class make it."""
    import keras

    weights = torchvision_resnet18(data / "resnet18_imagenet_partial.npz")
    model = build_resnet18((32, 32, 3), 20, stem, weights=weights, upscale=upscale)
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    with np.load(data / "tiny_imagenet32_20x200.npz") as file:
        images, labels = file["x_train"], file["y_train"]
    pick = np.concatenate([np.flatnonzero(labels == c)[:each] for c in np.unique(labels)])
    features, labels = pooled.predict(images[pick].astype(np.float32), verbose=0), labels[pick]
    train = np.arange(len(pick)) % 2 == 0
    classes = np.unique(labels)
    means = np.stack([features[train & (labels == c)].mean(0) for c in classes])
    answers = classes[np.argmin(((features[~train][:, None] - means) ** 2).sum(2), 1)]
    return np.mean(answers == labels[~train])


@pytest.mark.slow
def test_imagenet_features_tell_real_classes_apart(data):
    """Far above chance, which is 5 %."""
    assert nearest_mean_accuracy(data, "imagenet", 2, 40) > 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("upscale", "even", "uneven"), [(1, 0.457, 0.362), (2, 0.535, 0.395)])
def test_imagenet_features_need_the_padding_that_they_were_learned_with(data, upscale, even, uneven):
    """The numbers of docs/paper.md; rounding may move a picture or two of 600 over the border."""
    assert nearest_mean_accuracy(data, "torchvision", upscale, 60) == pytest.approx(even, abs=0.005)
    assert nearest_mean_accuracy(data, "imagenet", upscale, 60) == pytest.approx(uneven, abs=0.005)
