"""The losses of the methods, for targets whose first C columns are the distribution to learn and whose last is theirs.

Reference:
  [1] Sagawa, Koh, Hashimoto, Liang. Distributionally robust neural networks for group shifts. ICLR 2020.
"""

from typing import Any

import tensorflow as tf

from tfpdu.common.validation import positive
from tfpdu.unlearning.methods.descent import cross_entropy


def weighted_cross_entropy(logits: Any, targets: Any) -> Any:
    """Cross-entropy [b] times each row's weight, which is the last column of targets [b, C + 1]."""
    return targets[:, -1] * cross_entropy(logits, targets[:, :-1])


class GroupDRO:
    """The loss of group DRO, whose weights of groups rise exponentially with the groups' losses.

    Algorithm 1 of [1] on batches, as its authors' code does: with L_g the mean loss of the batch's rows of group g
    before the step (0 for a group without a row), first

        q_g <- q_g exp(eta L_g) / sum over g' of q_g' exp(eta L_g'),

    then a step on the sum over g of q_g L_g. Called, it takes logits [b, C] and targets [b, C + 1], whose last column
    is the group, and gives losses [b] with that sum as their mean; each call moves q.

    Args:
      groups: m, how many there are; q starts at 1 / m.
      eta: step size of the weights; 0.01 is that of the authors.
    """

    def __init__(self, groups: int, eta: float = 0.01):
        positive(groups=groups, eta=eta)
        self._groups, self._eta = groups, eta
        self._q = tf.Variable(tf.fill([groups], 1.0 / groups), trainable=False)

    @property
    def weights(self) -> Any:
        """q as it is, float32[m], of sum 1."""
        return self._q.numpy()

    def __call__(self, logits: Any, targets: Any) -> Any:
        """The losses [b], see above."""
        losses = cross_entropy(logits, targets[:, :-1])  # [b]
        group = tf.cast(targets[:, -1], tf.int32)
        member = tf.one_hot(group, self._groups)  # [b, m]
        counts = tf.reduce_sum(member, 0)
        of_groups = tf.math.divide_no_nan(tf.linalg.matvec(member, tf.stop_gradient(losses), transpose_a=True), counts)
        raised = self._q * tf.exp(self._eta * of_groups)
        q = raised / tf.reduce_sum(raised)
        self._q.assign(q)
        size = tf.cast(tf.shape(losses)[0], tf.float32)
        return tf.gather(tf.math.divide_no_nan(size * q, counts), group) * losses
