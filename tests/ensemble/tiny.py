"""A table and settings so small that a model is trained in a fraction of a second."""

import numpy as np

from tfpdu.data import Records
from tfpdu.data.views import ViewPolicy
from tfpdu.ensemble import EnsembleSettings
from tfpdu.ensemble.trainer import Rows

SHAPE = (8, 8, 1)
CLASSES = 3
VIEWS = ViewPolicy(count=4, flip=False, shift=1)


def settings(**changes):
    values = {"shards": 2, "slices": 1, "stem": "cifar", "width": 4, "epochs": 2, "batch": 8, "learning_rate": 0.05}
    return EnsembleSettings(**{**values, "threads": 2, **changes})


def records(n=48, seed=0, subjects=None, prefix="row"):
    """Three classes that differ in brightness, with noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % CLASSES
    images = np.clip(random.normal(60 + 60 * labels[:, None, None, None], 30, (n, *SHAPE)), 0, 255).astype(np.uint8)
    return Records(
        images=images,
        labels=labels,
        attributes=np.zeros((n, 0), np.int8),
        ids=np.array([f"{prefix}-{i:04d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(),
        label_names=("dark", "middle", "bright"),
        subjects=None if subjects is None else np.asarray(subjects),
    )


def rows(table, weights=None):
    return Rows(table.images, table.labels, table.ids, np.ones(len(table)) if weights is None else weights)
