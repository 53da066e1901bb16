"""Every estimation-of-distribution algorithm behaves as one."""

import numpy as np
import pytest

from tfpdu.bias import CGA, MIMIC, UMDA
from tfpdu.testing import check_eda


@pytest.mark.parametrize("cls", [UMDA, MIMIC, CGA], ids=lambda cls: cls.__name__)
def test_algorithm_conforms(cls):
    check_eda(cls)


class Unnormalised(UMDA):
    def log_prob(self, rows):
        return super().log_prob(rows) + 0.1


class Forgetful(UMDA):
    def sample(self, n, seed):
        return np.zeros((n, len(self._fitted())), np.int64) + seed % 2


class Careless(UMDA):
    def fit(self, rows, cardinalities):
        return super().fit(np.clip(rows, 0, 0) if len(rows) == 0 else np.abs(np.asarray(rows)) % 2, cardinalities)


@pytest.mark.parametrize("cls", [Unnormalised, Forgetful, Careless], ids=lambda cls: cls.__name__)
def test_suite_notices_a_faulty_algorithm(cls):
    with pytest.raises(AssertionError):
        check_eda(cls)
