"""Every unlearning method passes the one suite, and the suite catches methods that break its rules."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest

from tfpdu.common.files import weights_hash
from tfpdu.ensemble import build_backbone
from tfpdu.testing import check_method, memorised_rows
from tfpdu.unlearning import METHODS
from tfpdu.unlearning.methods import DescentSettings, Examples, find
from tfpdu.unlearning.methods.descent import Pass, ascent, cross_entropy, descend, one_hot


def strangers():
    """Rows like those to forget, which the toy has not seen."""
    forget, _ = memorised_rows()
    noise = np.random.default_rng(9).permuted(forget.images.astype(int) % 100, axis=1)
    ids = np.array([f"stranger{i}" for i in range(len(forget))])
    return Examples((forget.images // 2 + noise).astype(np.uint8), (forget.labels + 2) % 3, ids)


# What forgets the toy; no default does, since it suits ResNet18 on CIFAR-10.
SETTINGS = {
    "amun": dict(epochs=5, learning_rate=0.02),
    "boundary_shrink": dict(epochs=3, learning_rate=0.02),
    "cf_k": dict(epochs=8, k=2),
    "eu_k": dict(epochs=8, k=2),
    "fine_tune": dict(epochs=10, learning_rate=0.1),
    "fine_tune_anchored": dict(epochs=10, learning_rate=0.1),
    "gradient_ascent": dict(epochs=5, learning_rate=0.01),
    "influence": dict(damping=0.003, iterations=20),
    "l1_sparse": dict(epochs=10, learning_rate=0.1),
    "random_labels": dict(epochs=5, learning_rate=0.02),
    "retrain": dict(epochs=12, learning_rate=0.05, schedule="constant"),
    "salun": dict(epochs=5, learning_rate=0.02),
    "scrub": dict(epochs=6, learning_rate=0.02),
    "stackelberg": dict(epochs=6, learning_rate=0.05, alpha=2.0, nonmembers=strangers()),
    "woodfisher": dict(alpha=10.0),
    "zero_shot": dict(epochs=5, learning_rate=0.02, energy=0.9),
}


# Here one of each kind: by descent, by labels, by curvature. What each computes is in tests/unlearning/methods.
SHORT = {"fine_tune", "random_labels", "influence", "retrain"}


@pytest.mark.parametrize(
    "name", [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in sorted(METHODS)]
)
def test_method_conforms(name):
    assert METHODS[name].name == name
    check_method(METHODS[name], METHODS[name].settings(**SETTINGS[name]))


@dataclasses.dataclass(frozen=True)
class Ascent(DescentSettings):
    epochs: int = 5
    learning_rate: float = 0.02


def ascend(model, forget, retain, settings: Ascent, seed):
    """Climbs."""
    descend(model, lambda epoch: [Pass(forget, one_hot(forget.labels, 3), ascent)], settings, seed)
    return model


def test_ones_own_function_conforms():
    method = find(f"{__name__}:ascend")
    assert method.citation == "Climbs."
    assert method.settings is Ascent
    assert not method.needs_retain
    check_method(method)


class _Mine:
    """As `ascend`, with a fault put in by a subclass."""

    name, citation, needs_retain, settings = "mine", "nobody", False, Ascent

    def __init__(self):
        self.inner = find(f"{__name__}:ascend")

    def unlearn(self, model, forget, retain, settings, seed):
        return self.inner.unlearn(model, forget, retain, settings, seed)


class _InPlace(_Mine):
    def unlearn(self, model, forget, retain, settings, seed):
        result = super().unlearn(model, forget, retain, settings, seed)
        model.layers[-1].bias.assign_add(np.full(3, 1e-7, np.float32))
        return result


class _Unseeded(_Mine):
    def unlearn(self, model, forget, retain, settings, seed):
        return super().unlearn(model, forget, retain, settings, np.random.default_rng().integers(2**60))


class _Idle(_Mine):
    def unlearn(self, model, forget, retain, settings, seed):
        return super().unlearn(model, forget, retain, dataclasses.replace(settings, learning_rate=1e-9), seed)


class _Thaws(_Mine):
    def unlearn(self, model, forget, retain, settings, seed):
        return super().unlearn(model, forget, retain, dataclasses.replace(settings, layers="all"), seed)


class _Overlooks(_Mine):
    def unlearn(self, model, forget, retain, settings, seed):
        return super().unlearn(model, forget, None, settings, seed)


class _SaysItNeeds(_Mine):
    needs_retain = True


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (_InPlace, "input model"),
        (_Unseeded, "same seed"),
        (_Idle, "must rise"),
        (_Thaws, "layers="),
        (_Overlooks, "refuse an empty retained set"),
        (_SaysItNeeds, "refuse retain=None"),
    ],
)
def test_suite_catches(broken, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_method(broken())


NETWORKS = {
    "resnet18": dict(width=2),
    "small_vit": dict(width=8, depth=2, heads=2),
}


def coloured(n, name):
    """Pictures 8x8 of three classes that differ in brightness."""
    generator = np.random.default_rng(n)
    images = generator.integers(0, 120, (n, 8, 8, 3)) + 60 * (np.arange(n) % 3)[:, None, None, None]
    return Examples(images.astype(np.uint8), np.arange(n) % 3, np.array([f"{name}{i}" for i in range(n)]))


@functools.cache
def fitted(network):
    """A small network of ours that tells most of them apart."""
    model, known = build_backbone(network, (8, 8, 3), 3, **NETWORKS[network]), coloured(30, "k")
    walk = Pass(known, one_hot(known.labels, 3), cross_entropy)
    descend(model, lambda epoch: [walk], DescentSettings(epochs=30, learning_rate=0.02), 0)
    return model


# Both with steps of their own beside the descent: the curvature's products, and layers in order.
QUICK = {("influence", "small_vit"), ("cf_k", "small_vit")}


@pytest.mark.parametrize(
    ("name", "network"),
    [
        pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow)
        for pair in itertools.product(sorted(METHODS), NETWORKS)
    ],
)
def test_method_takes_our_networks_and_leaves_them_alone(name, network):
    model = fitted(network)
    changes = {"epochs": 1, "learning_rate": 0.001, "nonmembers": coloured(6, "n"), "max_epochs": 1, "iterations": 3}
    known = {field.name for field in dataclasses.fields(METHODS[name].settings)}
    settings = METHODS[name].settings(**{key: value for key, value in changes.items() if key in known})
    before = weights_hash(model)
    result = METHODS[name].unlearn(model, coloured(6, "f"), coloured(12, "r"), settings)
    assert weights_hash(model) == before != weights_hash(result)
    assert all(np.isfinite(w).all() for w in result.get_weights())
