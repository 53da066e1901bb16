"""Every attack passes the one suite, and the suite catches attacks that break its rules."""

import numpy as np
import pytest

from tfpdu.audit import ATTACKS
from tfpdu.testing import check_attack


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_conforms(name):
    assert ATTACKS[name].name == name
    check_attack(ATTACKS[name])


class _Mean:
    name = "broken"

    def fit(self, members, nonmembers, seed):
        self.members = members

    def score(self, signals):
        return -signals.losses0


class _Reversed(_Mean):
    def score(self, signals):
        return signals.losses0


class _Infinite(_Mean):
    def score(self, signals):
        return (
            -np.log(signals.losses0 * (signals.losses0 > 1e-3)) if (signals.losses0 > 0).all() else np.inf / np.ones(1)
        )


class _FirstView(_Mean):
    def score(self, signals):
        return -signals.losses[:, 0]


class _Ranked(_Mean):
    def score(self, signals):
        return -np.argsort(np.argsort(signals.losses0)).astype(np.float64)


class _Unseeded(_Mean):
    def fit(self, members, nonmembers, seed):
        self.noise = np.random.default_rng().normal()

    def score(self, signals):
        return self.noise - signals.losses0


class _OrderOfRows(_Mean):
    def score(self, signals):
        return self.members.losses0[0] - signals.losses0


class _Blind(_Mean):
    def score(self, signals):
        return np.array([float(int(row_id[-4:]) % 7) for row_id in signals.ids])


class _Float32(_Mean):
    def score(self, signals):
        return -signals.losses0.astype(np.float32)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (_Reversed, "higher must mean member"),
        (_Infinite, "finite"),
        (_FirstView, "order of the views"),
        (_Ranked, "other rows"),
        (_Unseeded, "identical"),
        (_OrderOfRows, "order of the calibration rows"),
        (_Blind, "higher must mean member"),
        (_Float32, "float64"),
    ],
)
def test_suite_catches(broken, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_attack(broken)
