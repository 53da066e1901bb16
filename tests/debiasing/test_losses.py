import numpy as np
import pytest
import tensorflow as tf

from tfpdu.common import UserError
from tfpdu.debiasing.losses import GroupDRO, weighted_cross_entropy


def by_hand(logits, classes):
    """Cross-entropy of numpy."""
    z = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), classes]


def test_two_steps_of_group_dro_are_those_of_its_algorithm():
    rng = np.random.default_rng(0)
    eta, q = 0.7, np.full(3, 1 / 3)
    loss = GroupDRO(3, eta)
    for groups in (np.array([0, 0, 1, 2, 2]), np.array([0, 2, 2, 0, 0])):  # no row of group 1 in the second
        logits, classes = rng.standard_normal((5, 4)).astype(np.float32), rng.integers(0, 4, 5)
        each = by_hand(logits.astype(np.float64), classes)
        means = np.array([each[groups == g].mean() if (groups == g).any() else 0.0 for g in range(3)])
        q = q * np.exp(eta * means)
        q /= q.sum()
        found = loss(logits, np.column_stack([np.eye(4)[classes], groups]).astype(np.float32))
        assert np.mean(found) == pytest.approx((q * means).sum(), rel=1e-5)
        np.testing.assert_allclose(loss.weights, q, rtol=1e-5)


def test_the_gradient_of_group_dro_takes_the_weights_as_constants():
    logits = tf.Variable([[1.0, 0.0], [0.0, 2.0], [0.5, 0.5]])
    targets = tf.constant([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    loss = GroupDRO(2, 1.0)
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(loss(logits, targets))
    q = loss.weights
    residuals = tf.nn.softmax(logits).numpy() - targets.numpy()[:, :2]
    expected = residuals * np.array([[q[0]], [q[1] / 2], [q[1] / 2]])
    np.testing.assert_allclose(tape.gradient(value, logits), expected, rtol=1e-5)


def test_weights_of_groups_move_inside_a_compiled_function_too():
    loss = GroupDRO(2, 1.0)
    step = tf.function(loss, autograph=False)
    logits = tf.constant([[3.0, 0.0], [0.0, 3.0]])
    targets = tf.constant([[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    for _ in range(4):
        step(logits, targets)
    gap = by_hand(logits.numpy(), np.array([0, 0]))
    raised = np.exp(4 * gap)
    np.testing.assert_allclose(loss.weights, raised / raised.sum(), rtol=1e-4)


def test_rows_weigh_in_the_loss():
    logits = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    targets = np.array([[1, 0, 0.5], [1, 0, 3]], np.float32)
    expected = by_hand(logits, np.array([0, 0])) * [0.5, 3]
    np.testing.assert_allclose(weighted_cross_entropy(logits, targets), expected, rtol=1e-6)


def test_a_step_size_of_zero_is_refused():
    with pytest.raises(UserError, match="eta"):
        GroupDRO(2, 0.0)
