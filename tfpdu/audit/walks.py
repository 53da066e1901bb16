"""Ways to look for a picture that a model misses: along its gradient, or by random squares.

A walk keeps the state of many rows at once, each at its own turn. Its draws are keyed by (seed, row, turn), so what
becomes of a row does not depend on the others.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tfpdu.audit.ball import ascend
from tfpdu.common import seeds
from tfpdu.ensemble.networks import compiled_graph, evaluate, image_gradient, log_probabilities

State = tuple[np.ndarray, ...]  # of b rows, each array [b, ...]
Turn = tuple[np.ndarray, np.ndarray, State]  # bool[b] the model misses it, bool[b] it was the row's last turn, state


class GradientWalk:
    """Projected gradient ascent, and FGSM, which is one step as long as the radius.

    Args:
      model: pictures to logits or probabilities.
      attack: a `tfpdu.audit.RobustnessAttack` "pgd" or "fgsm".
      shape: (h, w, c) of a picture.
      from_logits: the model gives logits.
    """

    def __init__(self, model: Any, attack: Any, shape: tuple[int, ...], from_logits: bool):
        self._attack, single = attack, attack.kind == "fgsm"
        self._steps = 1 if single else attack.steps
        self._radius = attack.epsilon * attack.pixel_max
        step = self._radius if single else self._radius / 4 if attack.step is None else attack.step * attack.pixel_max
        self._random = attack.random_start and not single
        pictures = tf.TensorSpec((None, *shape), tf.float32)
        lengths = (np.float32(step), np.float32(self._radius), np.float32(attack.pixel_max))
        self._compiled = compiled_graph(
            [pictures, pictures, tf.TensorSpec((None,), tf.int32)], _climb, model, from_logits, attack.norm, lengths
        )

    def begin(self, pictures: np.ndarray, keys: np.ndarray) -> State:
        """The state of rows at their first turn, from float32[b, h, w, c] and uint64[b]."""
        now = pictures
        if self._random and len(pictures):
            shifts = np.stack([self._shift(key, pictures.shape[1:]) for key in keys])
            now = np.clip(pictures + shifts, 0, np.float32(self._attack.pixel_max))
        return pictures, now, np.zeros(len(pictures), int)

    def turn(self, labels: np.ndarray, state: State) -> Turn:
        """Asks about the pictures as they are, and moves them one step on."""
        start, now, turn = state
        called, moved = self._compiled(start, now, labels)
        return called.numpy() != labels, turn == self._steps, (start, moved.numpy(), turn + 1)

    def _shift(self, key: np.uint64, shape: tuple[int, ...]) -> np.ndarray:
        """A point drawn evenly from the ball, float32[h, w, c], just inside, for rounding must not lead out of it."""
        draw, inside = seeds.rng("robustness start", self._attack.seed, int(key)), self._radius * (1 - 2.0**-20)
        if self._attack.norm == "linf":
            return draw.uniform(-inside, inside, shape).astype(np.float32)
        direction = draw.standard_normal(shape)
        length = draw.uniform() ** (1 / direction.size)
        return (direction * (inside * length / np.linalg.norm(direction))).astype(np.float32)


def _climb(model: Any, from_logits: bool, norm: str, lengths: Any, start: Any, now: Any, labels: Any) -> Any:
    """What the pictures [b, h, w, c] are called as they are, int[b], and the pictures one step further."""
    given, gradient = image_gradient(model, now, labels, from_logits)
    step, radius, pixel_max = lengths
    return tf.argmax(given, 1, tf.int32), ascend(start, now, gradient, step, radius, pixel_max, norm)


# After this share of the queries, in ten thousandths, the squares' area is halved once more [authors' code].
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


class SquareWalk:
    """Square attack (Andriushchenko et al. 2020, algorithms 1 and 2), L-infinity.

    It starts from vertical stripes at the ball's surface; each turn then gives a square of random place one random
    colour of the ball's corners, and keeps it where the margin between the label and the best other class gets smaller.
    A square that would change nothing gets the opposite colour. Places reach the edges, unlike those of the authors'
    code, whose last row and column are left out.

    Args:
      model: pictures to logits or probabilities.
      attack: a `tfpdu.audit.RobustnessAttack` "square".
      shape: (h, w, c) of a picture.
      from_logits: the model gives logits.
    """

    def __init__(self, model: Any, attack: Any, shape: tuple[int, ...], from_logits: bool):
        self._attack, self._shape = attack, shape
        self._radius, self._most = np.float32(attack.epsilon * attack.pixel_max), np.float32(attack.pixel_max)
        signature = [tf.TensorSpec((None, *shape), tf.float32), tf.TensorSpec((None,), tf.int32)]
        self._compiled = compiled_graph(signature, _margin, model, from_logits)

    def begin(self, pictures: np.ndarray, keys: np.ndarray) -> State:
        """The state of rows at their first turn, from float32[b, h, w, c] and uint64[b]."""
        none_yet = np.full(len(pictures), np.inf, np.float32)
        return pictures, self._stripes(pictures, keys), none_yet, keys, np.zeros(len(pictures), int)

    def turn(self, labels: np.ndarray, state: State) -> Turn:
        """Asks about a proposal for each row, and keeps it where it is nearer to being missed."""
        start, best, margin, keys, turn = state
        proposal = np.where((turn == 0)[:, None, None, None], best, self._squares(start, best, keys, turn))
        called, found = (part.numpy() for part in self._compiled(proposal, labels))
        better = found < margin
        best = np.where(better[:, None, None, None], proposal, best)
        margin = np.where(better, found, margin)
        return called != labels, turn + 1 == self._attack.queries, (start, best, margin, keys, turn + 1)

    def side(self, turn: np.ndarray) -> np.ndarray:
        """The squares' sides int[b] at turns int[b]; turn 0 is that of the stripes."""
        height, width, _ = self._shape
        elapsed = (turn - 1) * 10_000 // self._attack.queries
        area = self._attack.fraction / 2.0 ** np.searchsorted(_HALVINGS, elapsed) * height * width
        return np.clip(np.rint(np.sqrt(area)).astype(int), 1, max(min(height, width) - 1, 1))

    def _stripes(self, pictures: np.ndarray, keys: np.ndarray) -> np.ndarray:
        columns = [self._signs(seeds.mix(keys, "stripe", self._attack.seed, i)) for i in range(self._shape[1])]
        return self._corner(pictures, np.stack(columns, 2))  # signs [b, 1, w, c]

    def _squares(self, start: np.ndarray, best: np.ndarray, keys: np.ndarray, turn: np.ndarray) -> np.ndarray:
        height, width, _ = self._shape
        at_turn = seeds.mix(keys ^ seeds.mix(turn.astype(np.uint64), "turn"), "square", self._attack.seed)
        side = self.side(turn)
        top, left = (
            (seeds.mix(at_turn, where) % (size - side + 1).astype(np.uint64)).astype(int)
            for where, size in (("top", height), ("left", width))
        )
        inside = [
            (first[:, None] <= np.arange(size)) & (np.arange(size) < (first + side)[:, None])
            for first, size in ((top, height), (left, width))
        ]
        where = inside[0][:, :, None, None] & inside[1][:, None, :, None]  # [b, h, w, 1]
        signs = self._signs(seeds.mix(at_turn, "colour"))[:, :, None]  # [b, 1, 1, c]
        proposal = np.where(where, self._corner(start, signs), best)
        idle = (proposal == best).all((1, 2, 3))
        opposite = np.where(idle[:, None, None, None], -signs, signs)
        return np.where(where, self._corner(start, opposite), best) if idle.any() else proposal

    def _signs(self, draws: np.ndarray) -> np.ndarray:
        """-1 or 1 for each channel, float32[b, 1, c]: the channel's own bit of uint64[b]."""
        channels = self._shape[2]
        bits = [seeds.mix(draws, "bits", i // 64) >> np.uint64(i % 64) & np.uint64(1) for i in range(channels)]
        return 2 * np.stack(bits, 1).astype(np.float32)[:, None] - 1

    def _corner(self, start: np.ndarray, signs: np.ndarray) -> np.ndarray:
        return np.clip(start + signs * self._radius, 0, self._most)


def _margin(model: Any, from_logits: bool, pictures: Any, labels: Any) -> Any:
    """What pictures [b, h, w, c] are called, int[b], and by how much the label's logit leads, float32[b]."""
    given = evaluate(model, pictures)
    logits = given if from_logits else log_probabilities(given)
    own = tf.one_hot(labels, logits.shape[-1])
    lead = tf.reduce_sum(logits * own, 1) - tf.reduce_max(logits - 1e9 * own, 1)
    return tf.argmax(given, 1, tf.int32), lead
