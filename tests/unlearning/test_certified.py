"""Certified removal from a convex head: the claim, its bounds, its accounting, and what is left on disk."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpdu.common import UserError
from tfpdu.unlearning import HeadSettings, fit_head, gaussian_delta, gaussian_epsilon, load_head, logistic, newton_noise

SETTINGS = HeadSettings(capacity=5)


def problem(seed=0, n=24, width=3, classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    features = rng.normal(size=(n, width)) + 2 * np.eye(classes, width)[labels]
    return features, labels, np.array([f"row{i:02d}" for i in range(n)])


def fitted(table, options=SETTINGS, **more):
    features, labels, ids = table
    return fit_head(features, labels, ids, 3, options, **{"secret": "s" * 32, **more})


def without(table, gone):
    keep = ~np.isin(table[2], gone)
    return tuple(column[keep] for column in table)


def centre(head):
    """What lies below the noise; a user does not see it."""
    return head._state["centre"]


# ---- the bounds


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.data(), st.sampled_from([0.0, 1e-2, 1e-6]), st.floats(0.01, 1), st.booleans())
def test_the_centre_is_within_gamma_of_the_head_that_never_saw_the_rows(seed, data, distance, lam, intercept):
    n = data.draw(st.integers(2, 14))
    m = data.draw(st.integers(1, n - 1))
    options = HeadSettings(
        feature_norm=2.0, intercept=intercept, strong_convexity=lam, capacity=m, distance=distance, residual=1e-8
    )
    table = problem(seed, n, 2)
    gone = table[2][:m]
    head = fitted(table, options)
    head.forget(gone)
    never = fitted(without(table, gone), options, rows=n)
    certificate = head.certificate()
    apart = np.linalg.norm(centre(head) - centre(never))
    assert apart <= certificate.gamma
    assert apart <= certificate.distance + 1e-8 / lam
    assert certificate.distance <= certificate.gamma
    assert never.certificate().gamma == certificate.gamma
    assert never.certificate().sigma == certificate.sigma


def test_the_worst_case_is_the_bound_of_sekhari_et_al_where_learning_is_exact():
    options = HeadSettings(distance=0, residual=1e-15, capacity=7, intercept=False, feature_norm=2.0)
    gamma, _ = newton_noise(1000, 7, 6, math.sqrt(2) * 2, 0.1, math.sqrt(6) / 9 * 8, 1.0, 1e-5)
    assert options.gamma(1000) == pytest.approx(gamma, rel=1e-9)


def test_the_worst_case_takes_the_step_of_sekhari_et_al():
    """H = (n H_S - sum_U Hess f) / (n - m); w + H^-1 sum_U grad f / (n - m): from the rows that go, not that stay."""
    options = dataclasses.replace(SETTINGS, distance=0.0, residual=1e-13)
    table = problem(3)
    head = fitted(table, options)
    learned = centre(head)
    head.forget(table[2][:4])
    rows = logistic.Rows(options.prepared(table[0]), table[1])
    going = logistic.Rows(rows.features[:4], rows.labels[:4])
    curvature = (24 * logistic.hessian(learned, rows, 0.1) - 4 * logistic.hessian(learned, going, 0.1)) / 20
    step = np.linalg.solve(curvature, 4 * logistic.gradient(learned, going, 0.1).ravel()) / 20
    np.testing.assert_allclose(centre(head), learned + step.reshape(learned.shape), atol=1e-11)


def test_rows_are_seen_with_no_more_than_the_declared_norm():
    features = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    seen = HeadSettings(feature_norm=2.0, intercept=False).prepared(features)
    np.testing.assert_allclose(seen, [[1.2, 1.6], [0.3, 0.4], [0, 0]])
    options = HeadSettings(feature_norm=2.0)
    seen = options.prepared(features)
    np.testing.assert_allclose(seen[:, 2], 1)
    assert np.linalg.norm(seen, axis=1).max() == pytest.approx(options.radius) == pytest.approx(math.sqrt(5))


def test_the_cost_of_the_noise_is_not_understated():
    """The mean loss over 400 secrets; a fifth of the bound is allowed for chance, and the bound is no wild guess."""
    table, options = problem(5, 40), HeadSettings(distance=0.08, strong_convexity=0.05)
    rows = logistic.Rows(options.prepared(table[0]), table[1])
    heads = [fitted(table, options, secret=f"{i:032d}") for i in range(400)]
    rise = np.mean([logistic.loss(head.released.weights, rows, 0) for head in heads])
    rise -= logistic.loss(centre(heads[0]), rows, 0)
    bound = options.noise_cost(40, 3)
    assert 0.3 * bound <= rise <= 1.2 * bound


# ---- the claim, by experiment


def released(table, gone, options, trials, sequence=False):
    """Releases float64[trials, releases, d] of two worlds: that forgets, and that never saw the rows; and centres.

    With `sequence` each row of `gone` is a request of its own.
    """
    requests = [[row] for row in gone] if sequence else [gone]
    gone_by = [gone[: i + 1] for i in range(len(gone))] if sequence else [gone]

    def forgetting(secret):
        head = fitted(table, options, secret=secret)
        for request in requests:
            release = head.forget(request)
            yield release.weights.ravel(), centre(head).ravel()

    def never_seeing(secret):
        for i, rows in enumerate(gone_by):
            head = fitted(without(table, rows), options, rows=len(table[0]), secret=f"{secret}{i}")
            yield head.released.weights.ravel(), centre(head).ravel()

    unlearned = np.array([list(forgetting(f"here{trial:028d}")) for trial in range(trials)])
    never = np.array([list(never_seeing(f"there{trial:027d}")) for trial in range(trials)])
    return unlearned[:, :, 0], never[:, :, 0], unlearned[0, :, 1], never[0, :, 1]


def told_apart(first, second, mean_first, mean_second, sigma, epsilon):
    """Estimate and standard error of P[first in W] - e^epsilon P[second in W] at the W where it is largest.

    W is where the likelihood ratio is above e^epsilon (Neyman and Pearson).
    """

    def inside(releases):
        ratio = ((releases - mean_second) ** 2 - (releases - mean_first) ** 2).sum(axis=(1, 2)) / (2 * sigma**2)
        return ratio > epsilon

    p, q = inside(first).mean(), inside(second).mean()
    variance = p * (1 - p) + math.exp(2 * epsilon) * q * (1 - q)
    return p - math.exp(epsilon) * q, math.sqrt(variance / len(first))


def tight(table, gone, epsilon, delta):
    """Settings whose gamma is hardly more than what these rows need, so that the claim has nothing to spare."""
    loose = HeadSettings(
        distance=100.0, capacity=len(gone), epsilon=epsilon, delta=delta, strong_convexity=2.0, residual=1e-13
    )
    head = fitted(table, loose)
    head.forget(gone)
    return dataclasses.replace(loose, distance=head.certificate().distance)


def check_claim(trials):
    table = problem(7, 12, 2)
    gone = table[2][:4]
    epsilon, delta = 0.3, 0.2
    options = tight(table, gone, epsilon, delta)
    unlearned, never, own, other = released(table, gone, options, trials)
    sigma = options.sigma(12)
    exact = gaussian_delta(epsilon, float(np.linalg.norm(own - other)) / sigma)
    assert 0.1 < exact <= delta  # else the experiment would show little
    for pair in ((unlearned, never, own, other), (never, unlearned, other, own)):
        seen, error = told_apart(*pair, sigma, epsilon)
        assert abs(seen - exact) <= 4 * error
        assert seen <= delta + 4 * error
    # With half the noise the same experiment finds the claim out.
    halved = (own + (unlearned - own) / 2, other + (never - other) / 2, own, other)
    seen, error = told_apart(*halved, sigma / 2, epsilon)
    assert seen > delta + 2 * error


def test_nobody_tells_forgetting_from_never_having_seen_better_than_claimed():
    """600 secrets a world, standard error about 0.03; 4 of them: by chance once in 10^4."""
    check_claim(600)


@pytest.mark.slow
def test_nobody_tells_forgetting_from_never_having_seen_better_than_claimed_at_length():
    check_claim(20_000)


def test_releases_together_are_told_apart_as_the_accounting_says():
    """Three requests, one row each: their noise is independent, and their distances add up in squares."""
    table = problem(7, 12, 2)
    gone = table[2][:3]
    options = tight(table, gone, 0.3, 0.1)
    unlearned, never, own, other = released(table, gone, options, 400, sequence=True)
    sigma = options.sigma(12)
    exact = gaussian_delta(0.3, float(np.linalg.norm(own - other)) / sigma)
    assert exact > 0.05  # else the experiment would show little
    seen, error = told_apart(unlearned, never, own, other, sigma, 0.3)
    assert abs(seen - exact) <= 4 * error
    noise = (unlearned - own) / sigma  # [trials, 3, d]
    together = np.einsum("tid,tjd->ij", noise, noise) / noise[:, 0].size
    np.testing.assert_allclose(together, np.eye(3), atol=4 * math.sqrt(2 / noise[:, 0].size))
    head = fitted(table, options)
    for row in gone:
        head.forget([row])
    epsilon = head.certificate().epsilon_since_first
    assert gaussian_delta(epsilon, float(np.linalg.norm(own - other)) / sigma) <= 0.1


def test_the_first_release_carries_the_noise_too():
    """The standard deviation over 300 secrets x 9 weights, within 4 standard errors of sigma."""
    table, options = problem(), dataclasses.replace(SETTINGS, intercept=False)
    learned = centre(fitted(table, options))
    off = [fitted(table, options, secret=f"{i:032d}").released.weights - learned for i in range(300)]
    sigma = options.sigma(24)
    assert np.std(off) == pytest.approx(sigma, rel=4 / math.sqrt(2 * 2700))


# ---- requests


def test_orders_batches_and_repetitions_of_requests_end_in_the_same_bits():
    table = problem()
    ids = table[2].tolist()
    at_once = fitted(table).forget(ids[:4])
    for requests in ([ids[3:4], ids[:3]], [ids[1::-1], ids[:4]], [ids[2:4], ids[2:4], ids[:2] + ids[:2]]):
        head = fitted(table)
        for request in requests:
            last = head.forget(request)
        np.testing.assert_array_equal(last.weights, at_once.weights)
        assert head.forgotten == 4
        assert head.ids.tolist() == ids[4:]


def test_the_order_of_the_table_has_no_influence():
    table = problem()
    turned = tuple(column[::-1] for column in table)
    np.testing.assert_array_equal(fitted(table).released.weights, fitted(turned).released.weights)


def test_requests_are_counted_together_against_one_capacity_and_a_refused_one_changes_nothing():
    table = problem()
    head = fitted(table)
    head.forget(table[2][:3])
    before = head.released.weights
    with pytest.raises(UserError, match="3 rows more make 6 in all, the head's capacity is 5"):
        head.forget(table[2][3:6])
    with pytest.raises(UserError, match="'nobody' is no row"):
        head.forget([table[2][3], "nobody"])
    assert (head.forgotten, head.releases, head.released.weights is before) == (3, 2, True)
    assert head.forget(table[2][:2]).weights is before  # gone already: no new release
    head.forget(table[2][3:5])
    assert (head.forgotten, head.releases) == (5, 3)


def test_epsilon_adds_up_over_releases_with_the_root_of_their_number():
    table = problem()
    head = fitted(table)
    found = []
    for row in table[2][:5]:
        head.forget([row])
        found.append(head.certificate().epsilon_since_first)
    one = SETTINGS.gamma(24) / SETTINGS.sigma(24)
    assert found == pytest.approx([gaussian_epsilon(math.sqrt(k) * one, 1e-5) for k in range(1, 6)])
    assert found[0] == pytest.approx(1.0)
    assert head.certificate().epsilon == 1.0


def test_the_last_row_of_a_class_can_be_forgotten():
    features, labels, ids = problem()
    labels = np.where(np.arange(24) == 0, 2, labels % 2)
    head = fitted((features, labels, ids))
    head.forget(ids[:1])
    assert head.released.probabilities(features).shape == (24, 3)
    never = fitted(without((features, labels, ids), ids[:1]), rows=24)
    assert np.linalg.norm(centre(head) - centre(never)) <= SETTINGS.gamma(24)


def test_it_learns_and_goes_on_predicting_after_a_request():
    table = problem(1, 200)
    head = fitted(table, HeadSettings(feature_norm=4.0, strong_convexity=0.01, capacity=20))
    assert (head.released.predict(table[0]) == table[1]).mean() > 0.75
    release = head.forget(table[2][:20])
    assert (release.predict(table[0]) == table[1]).mean() > 0.75
    np.testing.assert_allclose(release.probabilities(table[0]).sum(axis=1), 1)


# ---- on disk


def test_a_saved_head_goes_on_bit_for_bit(tmp_path):
    table = problem()
    head = fitted(table)
    head.forget(table[2][:2])
    head.save(tmp_path)
    again = load_head(tmp_path)
    np.testing.assert_array_equal(again.released.weights, head.released.weights)
    assert again.certificate() == head.certificate()
    np.testing.assert_array_equal(again.forget(table[2][2:3]).weights, head.forget(table[2][2:3]).weights)
    assert (tmp_path / "certified_head.npz").stat().st_mode & 0o777 == 0o600


def test_nothing_of_a_forgotten_row_is_in_the_state_but_its_part_in_the_learned_weights(tmp_path):
    table = problem()
    head = fitted(table)
    head.forget(table[2][:2])
    head.save(tmp_path)
    with np.load(tmp_path / "certified_head.npz") as state:
        seen = SETTINGS.prepared(table[0])
        assert state["features"].shape == (22, 4)
        assert not (state["features"][:, None] == seen[None, :2]).all(axis=2).any()
        assert all(row not in str(state[name].tolist()) for name in state.files for row in table[2][:2])


def test_a_missing_or_foreign_state_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load_head(tmp_path)
    np.savez(tmp_path / "certified_head.npz", weights=np.zeros(3))
    with pytest.raises(UserError, match="not a certified head's state"):
        load_head(tmp_path)
    (tmp_path / "certified_head.npz").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(UserError, match=r"not a readable \.npz"):
        load_head(tmp_path)


def fit_with(**changed):
    features, labels, ids = problem()
    arguments = {"features": features, "labels": labels, "ids": ids, "classes": 3, "settings": SETTINGS, **changed}
    return fit_head(**arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_with(features=np.ones(24)), "features: expected a table"),
        (lambda: fit_with(features=np.full((24, 2), math.nan)), "features: row 0 holds a NaN"),
        (lambda: fit_with(labels=np.zeros(24)), "labels: expected 24 whole numbers"),
        (lambda: fit_with(labels=np.zeros(23, int)), "labels: expected 24 whole numbers"),
        (lambda: fit_with(classes=2), "labels: row [0-9]+ has 2, expected 0 to 1"),
        (lambda: fit_with(classes=1), "classes: expected a whole number of at least 2"),
        (lambda: fit_with(ids=["a"] * 24), "ids: expected 24 different ones, got 1"),
        (lambda: fit_with(settings=HeadSettings(capacity=24)), "capacity: expected less than the 24 rows"),
        (lambda: fit_with(rows=23), "rows: expected 24 .* to 29"),
        (lambda: fit_with(rows=30), "rows: expected 24 .* to 29"),
        (lambda: fit_with(rows=24.5), "rows: expected 24 .* to 29"),
        (lambda: fit_with(secret="short"), "secret: expected at least 32 characters, got 5"),
        (lambda: fit_with(settings=HeadSettings(residual=1e-30)), "raise"),
        (lambda: fit_with().forget("row00"), "expected a list of ids"),
        (lambda: fit_with().released.predict(np.ones((2, 4))), "the head knows 3 features, got 4"),
        (lambda: HeadSettings(epsilon=0), "epsilon: expected"),
        (lambda: HeadSettings(delta=1.0), "delta: expected"),
        (lambda: HeadSettings(capacity=0), "capacity: expected"),
        (lambda: HeadSettings(capacity=1.5), "capacity: expected a whole number"),
        (lambda: HeadSettings(strong_convexity=0), "strong_convexity: expected"),
        (lambda: HeadSettings(feature_norm=math.inf), "feature_norm: expected"),
        (lambda: HeadSettings(distance=-1e-3), "distance: expected"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_code_of_the_documentation_runs_and_prints_what_it_says(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "certified.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        exec(block, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(blocks) == 2
    assert float(printed[0].removeprefix("accuracy ")) > 0.9
    assert all(line in page for line in printed[1:])
    assert printed[1:] == [
        "epsilon 1, delta 1e-05, sigma 0.0037",
        "2 of at most 100 rows forgotten",
        "both releases together: epsilon 1.47",
        "10 rows, 95 % interval 10 to 99",
    ]
