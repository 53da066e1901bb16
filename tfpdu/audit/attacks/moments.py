"""Moments: a small network on the root moments of the losses over the training views.

Reference:
  [1] Yu, Zhang, Chen, Yin, Liu. How does data augmentation affect privacy in machine learning? AAAI 2021: membership of
      a row is a set classification of its views; any permutation-invariant rule is a rule on moments.
"""

import numpy as np

from tfpdu.audit.attacks.perceptron import Descent, Perceptron, binary_cross_entropy, descend, initial
from tfpdu.audit.losses import root_moments
from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError
from tfpdu.common.seeds import hashed_order, rng

_LOG_FLOOR = 1e-8  # nats; float32 probabilities tell no smaller losses apart


class Moments:
    """A 20-20-20-1 tanh network on the first 20 root moments of `losses`, float64[n, N].

    Threat model: as M-Mean, and the attacker knows the membership of the calibration rows.

    `fit` is the honest protocol: a quarter of the calibration rows (by hashed id) says when to stop, and the moments
    enter as logarithms, standardised by the calibration rows' mean and deviation. Logarithms, since losses of fitted
    rows span many orders of magnitude, which a network on the raw scale cannot tell apart. `fit_yu2021` is [1]'s own
    code: raw moments, stopped at the best accuracy on the evaluation rows.

    Args:
      orders: K, how many moments.
      hidden: units of each of the two hidden layers.
      decay: L2 penalty of `fit`.
    """

    name = "moments"
    uses_views = True

    def __init__(self, orders: int = 20, hidden: int = 20, decay: float = 1e-3):
        self._orders, self._hidden, self._decay = orders, hidden, decay
        self._network: Perceptron | None = None
        self._scaled = True
        self._centre, self._scale = np.zeros(orders), np.ones(orders)

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Trains and stops on these rows alone; at least two a side."""
        self._scaled, self._centre, self._scale = True, np.zeros(self._orders), np.ones(self._orders)
        parts = [self._parts(side, seed) for side in (members, nonmembers)]
        inputs, targets = _stack(parts[0][0], parts[1][0])
        stop_inputs, stop_targets = _stack(parts[0][1], parts[1][1])
        self._centre, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        self._scale = np.where(deviation > 1e-12, deviation, 1.0)
        inputs, stop_inputs = self._standardise(inputs), self._standardise(stop_inputs)
        generator = rng(seed, "moments attack")
        self._network = descend(
            initial((self._orders, self._hidden, self._hidden, 1), generator),
            inputs,
            targets,
            Descent(decay=self._decay),
            generator,
            lambda network: -binary_cross_entropy(network.logits(stop_inputs), stop_targets),
        )

    def fit_yu2021(
        self,
        members: Signals,
        nonmembers: Signals,
        evaluation_members: Signals,
        evaluation_nonmembers: Signals,
        seed: int,
    ) -> None:
        """Trains on the first two as [1] does, and keeps the network that is most accurate on the last two.

        That choice looks at the evaluation rows: the accuracy reported is biased upwards.
        """
        self._scaled = False
        inputs, targets = _stack(*(self._features(_by_id(side)) for side in (members, nonmembers)))
        test_inputs, test_targets = _stack(
            *(self._features(_by_id(side)) for side in (evaluation_members, evaluation_nonmembers))
        )
        generator = rng(seed, "moments attack")
        self._network = descend(
            initial((self._orders, self._hidden, self._hidden, 1), generator),
            inputs,
            targets,
            Descent(),
            generator,
            lambda network: float(np.mean((network.logits(test_inputs) > 0) == (test_targets == 1))),
        )

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], the network's logit: above 0 it deems a member likelier than not."""
        if self._network is None:
            raise UserError("moments: score before fit")
        return self._network.logits(self._standardise(self._features(signals)))

    def _features(self, signals: Signals) -> np.ndarray:
        # Sorted, since a sum's rounding depends on the order of the views and the score must not.
        moments = root_moments(np.sort(signals.losses, axis=1), self._orders)  # [n, K]
        return np.log(moments + _LOG_FLOOR) if self._scaled else moments

    def _standardise(self, features: np.ndarray) -> np.ndarray:
        return (features - self._centre) / self._scale if self._scaled else features

    def _parts(self, side: Signals, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The features of one side's training rows and of its stopping rows, both in hashed order."""
        if len(side) < 2:
            raise UserError(f"moments: {len(side)} calibration rows on one side, at least 2 are needed")
        features = self._features(side.take(hashed_order(side.ids.tolist(), seed, "moments stopping")))
        stopping = max(1, len(side) // 4)
        return features[stopping:], features[:stopping]


def _by_id(side: Signals) -> Signals:
    return side.take(np.argsort(side.ids, kind="stable"))


def _stack(members: np.ndarray, nonmembers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    targets = np.concatenate([np.ones(len(members)), np.zeros(len(nonmembers))])
    return np.concatenate([members, nonmembers]), targets
