"""Cells too small to condition on are asked for as they were trained: by class alone."""

import numpy as np

from tfpdu.data import UNKNOWN, load
from tfpdu.diffusion import GeneratorSettings, fit_generator

SETTINGS = GeneratorSettings(
    images=64, batch=32, widths=(16, 32), fold=1, embedding=16, precision="float32", steps=3, min_rows=1, min_cell=20
)


def test_a_small_cell_is_sampled_by_its_class_alone(tmp_path):
    digits = load("digits", attributes=("parity",))
    threes = np.flatnonzero(digits.labels == 3)
    records = digits.take(np.concatenate([np.flatnonzero(digits.labels == 4)[:40], threes[:10]]))
    generator = fit_generator(records, SETTINGS, tmp_path, seed=0)
    assert [(cell["label"], cell["rows"]) for cell in generator.card["merged_cells"]] == [(3, 10)]

    def sample(label, attribute):
        return generator.sample(np.array([label]), np.array([[attribute]]), ["a"])

    odd = 1
    np.testing.assert_array_equal(sample(3, odd), sample(3, UNKNOWN))
