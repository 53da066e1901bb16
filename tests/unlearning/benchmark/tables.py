"""Small tables for the benchmark's tests: pictures of a bar in one of three places, and a model that learns them."""

import keras
import numpy as np

from tfpdu.data import AttributeSpec, Records, ViewPolicy
from tfpdu.ensemble.networks import leaves
from tfpdu.unlearning.benchmark import BenchmarkSettings, Tables
from tfpdu.unlearning.methods import DescentSettings
from tfpdu.unlearning.methods.network import initialise

CLASSES = ("left", "middle", "right")


def rows(n: int, name: str, noise: int = 150) -> Records:
    """n rows, classes in turn, with an attribute and three rows a person."""
    generator = np.random.default_rng(len(name))
    labels = (np.arange(n) % 3).astype(np.int32)
    images = generator.integers(0, noise, (n, 8, 8, 1))
    shown = np.where(np.arange(n) % 4, labels, (labels + 1) % 3)  # every fourth row has to be learned by heart
    for image, place in zip(images, shown, strict=True):
        image[:, 3 * place : 3 * place + 2] += 60
    return Records(
        images=images.astype(np.uint8),
        labels=labels,
        attributes=(np.arange(n)[:, None] // 3 % 2).astype(np.int8),
        ids=np.array([f"{name}{i:03d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("tone", ("dark", "light")),),
        label_names=CLASSES,
        subjects=np.array([f"{name}-{i // 9}" for i in range(n)]),
    )


def build(seed: int) -> keras.Model:
    """An untrained model."""
    layers = keras.layers
    parts = [layers.Rescaling(1 / 128, -1), layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(3)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *parts])
    initialise(leaves(model), seed)
    return model


def tables() -> Tables:
    return Tables(rows(60, "train"), rows(45, "held"), rows(36, "pop"), rows(30, "aux"), rows(60, "test"))


def settings(**changes) -> BenchmarkSettings:
    views = ViewPolicy(2, False, 0)
    training = DescentSettings(epochs=60, learning_rate=0.1, batch=20, weight_decay=0.0, views=views)
    values = {
        "rows": 60,
        "scenarios": ("random:0.2",),
        "methods": ("fine_tune",),
        "seeds": (0,),
        "training": training,
        "views": views,
        "backbone": f"{__name__}:build",
        "references": 2,
        "held_out": 45,
        "population": 36,
        "robust_rows": 0,
        "audit_rows": 12,
    }
    return BenchmarkSettings(**{**values, **changes})
