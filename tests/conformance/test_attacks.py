"""Every attack passes the one suite, and the suite catches attacks that break its rules."""

import numpy as np
import pytest

from tfpdu.audit import ATTACKS, BASELINES
from tfpdu.common import UserError
from tfpdu.testing import check_attack


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attack_conforms(name):
    assert ATTACKS[name].name == name
    check_attack(ATTACKS[name])


def test_baseline_is_found_out_by_the_suite():
    with pytest.raises(AssertionError, match="higher must mean member"):
        check_attack(BASELINES["blind"])


def test_attack_with_arguments_is_checked_by_a_call_that_makes_it():
    check_attack(lambda: ATTACKS["rmia_offline"](gamma=2.0, a=None))
    check_attack(lambda: ATTACKS["lira_online"](fix_variance=False))


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


class _FirstReference(_Mean):
    requires = ("references",)

    def score(self, signals):
        if signals.references is None:
            raise UserError("no references")
        return -signals.losses0 - signals.references.probabilities[:, 0]


class _CareFree(_Mean):
    requires = ("earlier",)

    def score(self, signals):
        earlier = signals.probabilities if signals.earlier is None else signals.earlier
        return earlier[np.arange(len(signals)), signals.labels]


class _Demanding(_Mean):
    requires = ("gradients",)


class _BlindToTheDeletion(_Mean):
    requires = ("earlier",)  # but looks at the present answers alone, which no longer know the rows


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
        (_FirstReference, "order of the reference models"),
        (_CareFree, "must refuse signals without it"),
        (_Demanding, "requires has"),
        (_BlindToTheDeletion, "higher must mean member"),
    ],
)
def test_suite_catches(broken, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_attack(broken)
