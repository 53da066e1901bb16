"""Cross-entropy, entropies and root moments: known answers and what they must never do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfpdu.audit import (
    cross_entropy,
    cross_entropy_from_logits,
    entropy,
    logit_statistic,
    modified_entropy,
    root_moments,
)
from tfpdu.common import UserError

P, Y = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.25, 0.25, 0.5]]), np.array([0, 0, 2])
L_MEM = np.array([[0.1, 0.3, 0.2], [0.4, 0.4, 0.4], [0, 0.6, 0.9]])
L_NON = np.array([[0.5, 0.7, 0.6], [0.2, 0.2, 0.8], [1, 2, 3]])
some_losses = hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(0, 50))


def test_song_and_mittal_known_answers():
    assert cross_entropy(P, Y) == pytest.approx([0.3566749439, 2.3025850930, 0.6931471806], abs=1e-9)
    assert entropy(P) == pytest.approx([0.8018185525, 0.6390318597, 1.0397207708], abs=1e-9)
    assert modified_entropy(P, Y) == pytest.approx([0.1621672450, 3.3704129652, 0.4904146265], abs=1e-9)
    assert logit_statistic(P, Y) == pytest.approx([0.8472978604, -2.1972245773, 0], abs=1e-9)


def test_modified_entropy_is_zero_when_surely_right_and_large_when_surely_wrong():
    sure = np.array([[1.0, 0, 0], [1.0, 0, 0]])
    right, wrong = modified_entropy(sure, np.array([0, 1]))
    assert right == 0
    assert wrong > 100
    own = np.linspace(0.01, 0.99, 50)
    table = np.stack([own, (1 - own) / 2, (1 - own) / 2], axis=1)
    assert (np.diff(modified_entropy(table, np.zeros(50, int))) < 0).all()


def test_cross_entropy_keeps_tiny_losses_and_stays_finite():
    table = np.array([[1 - 1e-18, 1e-18], [0.0, 1.0], [1.0, 0.0]])
    losses = cross_entropy(table, np.array([0, 0, 0]))
    assert losses[0] == pytest.approx(1e-18, rel=1e-12)
    assert losses[1] == pytest.approx(-np.log(np.finfo(float).tiny))
    assert losses[2] == 0


def test_cross_entropy_scales_rows_that_sum_to_one_only_nearly():
    table = (P * 1.0005).astype(np.float32)
    assert cross_entropy(table, Y) == pytest.approx(cross_entropy(P, Y), abs=1e-6)


def test_logits_and_probabilities_give_the_same_loss():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(0, 5, (200, 7)), generator.integers(0, 7, 200)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    assert cross_entropy_from_logits(logits, labels) == pytest.approx(cross_entropy(p, labels), rel=1e-9)


def test_loss_from_extreme_logits_neither_overflows_nor_vanishes():
    logits = np.array([[50.0, 0, 0], [0, 800.0, 0], [-1e4, 1e4, 0]])
    assert cross_entropy_from_logits(logits, np.array([0, 0, 0])) == pytest.approx(
        [2 * np.exp(-50.0), 800.0, 2e4], rel=1e-12
    )


def test_root_moments_known_answers():
    members, nonmembers = root_moments(L_MEM), root_moments(L_NON)
    assert members.shape == (3, 20)
    assert members.dtype == np.float64
    expected = [
        [0.2, 0.2160246899, 0.2289428485, 0.2390706186],
        [0.4, 0.4, 0.4, 0.4],
        [0.5, 0.6244997998, 0.6804092116, 0.7153751906],
    ]
    assert members[:, :4] == pytest.approx(np.array(expected), abs=1e-9)
    expected = [
        [0.6, 0.6055300708, 0.6109114744, 0.6160853432],
        [0.4, 0.4898979486, 0.5604078661, 0.6090523293],
        [2, 2.1602468995, 2.2894284851, 2.3907061857],
    ]
    assert nonmembers[:, :4] == pytest.approx(np.array(expected), abs=1e-9)
    assert members[:, 19] == pytest.approx([0.2839695160, 0.4, 0.8519085480], abs=1e-9)
    assert nonmembers[:, 19] == pytest.approx([0.6641094292, 0.7572406584, 2.8396951601], abs=1e-9)


def test_root_moments_do_not_underflow():
    assert root_moments([[1e-3, 2e-3, 3e-3]])[0, 19] == pytest.approx(0.0028396952, abs=1e-10)
    assert root_moments([[1e-18, 2e-18]])[0, 19] == pytest.approx(1.93187e-18, rel=1e-5)
    assert (root_moments([[0.0, 0.0]]) == 0).all()
    assert np.isfinite(root_moments([[708.0, 1e-300]])).all()


@given(some_losses, st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_root_moments_are_power_means(losses, scale):
    moments = root_moments(losses)
    top = losses.max(1, keepdims=True)
    slack = 1e-9 * (top + 1e-300)
    assert (np.diff(moments, axis=1) >= -slack).all()
    assert (moments[:, :1] <= losses.mean(1, keepdims=True) + slack).all()
    assert (moments <= top + slack).all()
    assert np.allclose(root_moments(losses[:, ::-1]), moments, rtol=1e-12, atol=1e-300)
    assert np.allclose(root_moments(losses * scale), moments * scale, rtol=1e-9, atol=1e-300)
    assert np.allclose(root_moments(losses[:, :1]), losses[:, :1], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize(
    ("table", "labels", "complaint"),
    [
        ([[2.0, -1.0]], [0], "no distribution"),
        ([[0.5, 0.2]], [0], "sum 0.7"),
        ([[np.nan, 1.0]], [0], "row 0"),
        ([[0.5, 0.5]], [2], "from 0 to 1"),
        ([[0.5, 0.5]], [-1], "from 0 to 1"),
        ([[0.5, 0.5]], [0, 1], "one per row"),
        ([[0.5, 0.5]], [0.5], "whole numbers"),
    ],
)
def test_bad_probabilities_get_one_line(table, labels, complaint):
    for function in (cross_entropy, modified_entropy, logit_statistic):
        with pytest.raises(UserError, match=complaint):
            function(table, labels)


@pytest.mark.parametrize("bad", [[[-1.0]], [[np.nan]], [[np.inf]], [1.0], np.empty((3, 0))])
def test_bad_losses_are_refused(bad):
    with pytest.raises(UserError, match="losses"):
        root_moments(bad)
