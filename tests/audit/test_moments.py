"""M-Mean and Moments on the cases where they must and must not succeed, and the attack network itself."""

import time

import numpy as np
import pytest

from tfpdu.audit import Signals, best_threshold, success_rate
from tfpdu.audit.attacks import MLoss, MMean, Moments
from tfpdu.audit.attacks.perceptron import Descent, Perceptron, binary_cross_entropy, descend, initial
from tfpdu.audit.protocols import PROTOCOLS, Sides
from tfpdu.common import UserError
from tfpdu.testing import memorised_signals

L_MEM = [[0.1, 0.3, 0.2], [0.4, 0.4, 0.4], [0, 0.6, 0.9]]
L_NON = [[0.5, 0.7, 0.6], [0.2, 0.2, 0.8], [1, 2, 3]]


def _signals(losses, prefix="r", losses0=None):
    losses = np.asarray(losses, np.float64)
    n = len(losses)
    ids = np.array([f"{prefix}{i:05d}" for i in range(n)])
    plain = losses.mean(1) if losses0 is None else np.asarray(losses0, np.float64)
    return Signals(ids, np.zeros(n, int), plain, losses, np.full((n, 2), 0.5))


def _sides(members, nonmembers):
    half = len(members) // 2
    parts = [np.arange(half), np.arange(half, len(members))]
    return Sides(*(side.take(part) for part in parts for side in (members, nonmembers)))


def test_m_mean_known_answer():
    members, nonmembers = (MMean().score(_signals(losses)) for losses in (L_MEM, L_NON))
    assert -members == pytest.approx([0.2, 0.4, 0.5])
    assert -nonmembers == pytest.approx([0.6, 0.4, 2.0])
    threshold = best_threshold(members, nonmembers)
    assert threshold == pytest.approx(-0.5)
    assert success_rate(members, nonmembers, threshold).success_rate == pytest.approx(5 / 6)


@pytest.mark.parametrize(("view", "largest_loss"), [(0, 0.1), (1, 0.6), (2, 0.4)])
def test_m_loss_known_answer_per_view(view, largest_loss):
    members, nonmembers = (MLoss(view).score(_signals(losses)) for losses in (L_MEM, L_NON))
    threshold = best_threshold(members, nonmembers)
    assert threshold == pytest.approx(-largest_loss)  # of several best, the one that accuses the fewest
    assert success_rate(members, nonmembers, threshold).success_rate == pytest.approx(5 / 6)


def test_moments_beat_the_mean_where_only_the_spread_tells():
    sides = _sides(_signals([[0.5, 0.5]] * 200, "m"), _signals([[0.1, 0.9]] * 200, "n"))
    rates = {
        (outcome.protocol, outcome.attack): success_rate(outcome.members, outcome.nonmembers, outcome.threshold)
        for protocol in ("holdout", "yu2021")
        for outcome in PROTOCOLS[protocol](sides, ("m_mean", "moments"), 0)
    }
    for protocol in ("holdout", "yu2021"):
        assert rates[protocol, "m_mean"].success_rate == 0.5
        assert rates[protocol, "moments"].success_rate == 1.0


def test_network_forward_known_answer():
    weights = tuple(np.full(shape, 0.1) for shape in ((20, 20), (20, 20), (20, 1)))
    network = Perceptron(weights, tuple(np.zeros(n) for n in (20, 20, 1)))
    inputs = np.full((1, 20), 0.5)
    layers = network._activations(inputs)
    assert layers[1] == pytest.approx(0.7615941560, abs=1e-9)
    assert layers[2] == pytest.approx(0.9092516740, abs=1e-9)
    assert 1 / (1 + np.exp(-network.logits(inputs)[0])) == pytest.approx(0.8603864437, abs=1e-9)


def test_network_gradients_equal_finite_differences():
    generator = np.random.default_rng(0)
    network = initial((3, 4, 4, 1), generator)
    inputs, targets = generator.normal(size=(9, 3)), generator.integers(0, 2, 9).astype(float)
    by_weights, by_biases = network.gradients(inputs, targets)

    def loss(layer, kind, index, step):
        parts = {"weights": [w.copy() for w in network.weights], "biases": [b.copy() for b in network.biases]}
        parts[kind][layer][index] += step
        moved = Perceptron(tuple(parts["weights"]), tuple(parts["biases"]))
        return binary_cross_entropy(moved.logits(inputs), targets)

    for layer in range(3):
        for kind, gradient in (("weights", by_weights[layer]), ("biases", by_biases[layer])):
            for index in np.ndindex(gradient.shape):
                slope = (loss(layer, kind, index, 1e-6) - loss(layer, kind, index, -1e-6)) / 2e-6
                assert gradient[index] == pytest.approx(slope, abs=1e-7)


def test_descent_learns_and_returns_the_best_judged_network():
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(400, 2))
    targets = (inputs[:, 0] * inputs[:, 1] > 0).astype(float)  # not linearly separable
    seen = []

    def judge(network):
        seen.append(float(np.mean((network.logits(inputs) > 0) == (targets == 1))))
        return seen[-1]

    trained = descend(initial((2, 20, 20, 1), generator), inputs, targets, Descent(), generator, judge)
    assert len(seen) == 201
    assert judge(trained) == max(seen) > 0.95


def test_moments_fits_within_a_second_and_repeats():
    members, nonmembers = memorised_signals(500, 10, seed=0)
    start = time.process_time()
    first, second = Moments(), Moments()
    first.fit(members, nonmembers, 7)
    assert (time.process_time() - start) < 3  # 0.5 s on one quiet core; the bound allows for a busy one
    second.fit(members, nonmembers, 7)
    assert np.array_equal(first.score(members), second.score(members))
    second.fit(members, nonmembers, 8)
    assert not np.array_equal(first.score(members), second.score(members))


def test_moments_is_as_good_as_the_mean_on_well_fitted_losses_of_many_magnitudes():
    generator = np.random.default_rng(2)
    members = _signals(np.exp(generator.normal(-9, 2, (600, 1)) + generator.normal(0, 0.5, (600, 10))), "m")
    nonmembers = _signals(np.exp(generator.normal(-6, 2, (600, 1)) + generator.normal(0, 0.5, (600, 10))), "n")
    rates = {
        outcome.attack: success_rate(outcome.members, outcome.nonmembers, outcome.threshold).success_rate
        for outcome in PROTOCOLS["holdout"](_sides(members, nonmembers), ("m_mean", "moments"), 0)
    }
    assert rates["m_mean"] > 0.72  # the best rule's rate is Phi(0.75) = 0.773
    assert rates["moments"] > rates["m_mean"] - 0.04  # 300 rows a side: one deviation is 0.024


def test_score_before_fit_and_one_calibration_row_are_refused():
    with pytest.raises(UserError, match="before fit"):
        Moments().score(_signals(L_MEM))
    with pytest.raises(UserError, match="at least 2"):
        Moments().fit(_signals(L_MEM[:1]), _signals(L_NON[:1]), 0)


@pytest.mark.parametrize("protocol", ["holdout", "yu2021"])
def test_protocol_without_a_leak(protocol):
    """holdout: the success interval covers 50 %. yu2021: never below 50 %, and on average above it."""
    rates, covered = [], 0
    for trial in range(12):
        generator = np.random.default_rng(trial)
        losses = np.exp(generator.normal(0, 1, (2, 300, 5)))
        sides = _sides(_signals(losses[0], "m"), _signals(losses[1], "n"))
        for outcome in PROTOCOLS[protocol](sides, ("m_loss", "m_mean", "moments"), trial):
            rate = success_rate(outcome.members, outcome.nonmembers, outcome.threshold)
            rates.append(rate.success_rate)
            covered += rate.ci_low <= 0.5 <= rate.ci_high
    if protocol == "holdout":
        assert covered >= 30  # of 36, 34.2 expected
        assert np.mean(rates) == pytest.approx(0.5, abs=0.015)
    else:
        assert min(rates) >= 0.5 - 1e-12
        assert np.mean(rates) > 0.52


def test_yu2021_m_loss_takes_the_best_of_all_views_and_the_plain_image():
    generator = np.random.default_rng(5)
    members, nonmembers = np.exp(generator.normal(size=(2, 100, 4)))
    members[:, 2] /= 20  # only view 2 leaks
    sides = _sides(_signals(members, "m", np.ones(100)), _signals(nonmembers, "n", np.ones(100)))
    (outcome,) = PROTOCOLS["yu2021"](sides, ("m_loss",), 0)
    assert np.array_equal(outcome.members, MLoss(2).score(sides.evaluation_members))
    (outcome,) = PROTOCOLS["holdout"](sides, ("m_loss",), 0)
    assert success_rate(outcome.members, outcome.nonmembers, outcome.threshold).success_rate == 0.5
