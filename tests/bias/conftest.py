"""Small tables to measure and to mend."""

import numpy as np
import pytest

from tfpdu.data import AttributeSpec, Records


def make_table(labels, columns=None, label_names=("cat", "dog"), prefix="row"):
    """Records of 2x2 grey images; columns: {(name, values): codes}."""
    columns = columns or {}
    n = len(labels)
    attributes = np.array(list(columns.values()), np.int8).reshape(len(columns), n).T
    return Records(
        images=np.zeros((n, 2, 2, 1), np.uint8),
        labels=np.asarray(labels, np.int32),
        attributes=attributes,
        ids=np.array([f"{prefix}/{i:05d}" for i in range(n)], dtype=str),
        origin=np.zeros(n, np.int8),
        specs=tuple(AttributeSpec(name, values) for name, values in columns),
        label_names=label_names,
    )


@pytest.fixture
def table():
    return make_table
