"""A real network, overfitted to real digits: the audit finds its members, and clears rows that only pose as such."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from tfpdu.audit import accuracy, audit_members
from tfpdu.data.records import AttributeSpec, Records
from tfpdu.data.views import ViewPolicy, render

POLICY = ViewPolicy(count=4, flip=False, shift=1)
SEED = 1


@pytest.fixture(scope="module")
def digits():
    """Digits of which three in ten carry a random label: whoever knows those has learnt them by heart."""
    pixels, labels = load_digits(return_X_y=True)
    n = len(labels)
    generator = np.random.default_rng(0)
    labels = np.where(generator.random(n) < 0.3, generator.integers(0, 10, n), labels)
    table = Records(
        images=(pixels.reshape(n, 8, 8, 1) * 15.9).astype(np.uint8),
        labels=labels.astype(np.int32),
        attributes=(labels % 2).astype(np.int8)[:, None],
        ids=np.array([f"digit-{i:04d}" for i in range(n)]),
        origin=np.zeros(n, np.int8),
        specs=(AttributeSpec("parity", ("even", "odd")),),
        label_names=tuple(map(str, range(10))),
    )
    order = generator.permutation(n)
    return [table.take(order[a:b]) for a, b in ((0, 300), (300, 600), (600, 1200), (1200, n))]


@pytest.fixture(scope="module")
def overfitted(digits):
    members = digits[0]
    views = [render(members.images, members.ids, np.full(300, j), POLICY, SEED) for j in range(POLICY.count)]
    pixels = np.concatenate(views).reshape(300 * POLICY.count, -1) / 255
    network = MLPClassifier((100,), max_iter=150, tol=0, n_iter_no_change=1000, learning_rate_init=3e-3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it converges, as meant
        network.fit(pixels, np.tile(members.labels, POLICY.count))
    return lambda images: network.predict_proba(images.reshape(len(images), -1) / 255)


def test_members_are_found_and_the_views_tell_more_than_the_plain_image(digits, overfitted):
    members, posing, calibration, evaluation = digits
    assert accuracy(overfitted, members).value > accuracy(overfitted, evaluation).value + 0.1
    rows = audit_members(
        overfitted, {"members": members, "posing": posing}, calibration, evaluation, policy=POLICY, seed=SEED
    )
    found = {(row["population"], row["attack"]): row for row in rows}
    for attack in ("m_loss", "m_mean", "moments"):
        assert found["members", attack]["ci_low"] > 0.5
        assert found["posing", attack]["ci_low"] <= 0.5 <= found["posing", attack]["ci_high"]
        assert found["posing", attack]["auc_ci_low"] <= 0.5 <= found["posing", attack]["auc_ci_high"]
    assert found["members", "m_mean"]["auc"] > found["members", "m_loss"]["auc"]
    assert found["members", "moments"]["success_rate"] > found["members", "m_loss"]["success_rate"]
