"""Accuracy under attack: the share of rows that no picture found within a ball around them makes the model miss.

What an attack leaves is an upper bound: a stronger attack may leave less. Where gradients say nothing, as behind
rounded or saturated pixels, those that follow them leave too much; `gradient_masking` compares with one that does not.

References:
  [1] Goodfellow, Shlens, Szegedy. Explaining and harnessing adversarial examples. ICLR 2015.
  [2] Madry, Makelov, Schmidt, Tsipras, Vladu. Towards deep learning models resistant to adversarial attacks. ICLR 2018.
  [3] Andriushchenko, Croce, Flammarion, Hein. Square attack: a query-efficient black-box adversarial attack via random
      search. ECCV 2020.
  [4] Croce et al. RobustBench: a standardized adversarial robustness benchmark. NeurIPS data sets and benchmarks 2021.
  [5] Athalye, Carlini, Wagner. Obfuscated gradients give a false sense of security. ICML 2018.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from tfpdu.audit.ball import NORMS
from tfpdu.audit.walks import GradientWalk, SquareWalk
from tfpdu.common import UserError
from tfpdu.common.intervals import clopper_pearson
from tfpdu.common.validation import in_range, one_of, positive
from tfpdu.data.storage import Images
from tfpdu.data.views import row_keys
from tfpdu.ensemble.networks import answers

KINDS = ("fgsm", "pgd", "square")


@dataclasses.dataclass(frozen=True)
class RobustnessAttack:
    """How pictures that the model misses are looked for. Lengths are shares of the pixels' range: 8/255 is 8 of 0..255.

    Attributes:
      kind: "fgsm": one step along the gradient's sign [1]; "pgd": `steps` steps along the gradient, back into the ball
        after each [2], stopping at the first picture that is missed; "square": squares of random place and colour,
        kept where they lower the margin, without gradients [3].
      norm: of the ball, "linf" or, for "pgd" alone, "l2".
      epsilon: its radius; CIFAR-10's are 8/255 for L-infinity and 0.5 for L2 [4].
      step: of "pgd"; None = epsilon / 4, which is 2/255 of 8/255.
      steps: of "pgd".
      random_start: "pgd" starts from a point drawn evenly from the ball; False: from the row itself.
      queries: pictures that "square" asks about for each row. 200 do for a warning of masked gradients; [3] has 10,000.
      fraction: of the picture that the first squares cover, p in [3]; 0.8 as in RobustBench's attack.
      pixel_max: the largest pixel, 255 or 1; the smallest is 0. Normalisation belongs inside the model.
      seed: of the draws, which are keyed by (seed, row id) alone.
      batch: rows a call.
    """

    kind: str = "pgd"
    norm: str = "linf"
    epsilon: float = 8 / 255
    step: float | None = None
    steps: int = 20
    random_start: bool = True
    queries: int = 200
    fraction: float = 0.8
    pixel_max: float = 255.0
    seed: int = 0
    batch: int = 250

    def __post_init__(self) -> None:
        one_of(KINDS, kind=self.kind)
        one_of(NORMS, norm=self.norm)
        positive(epsilon=self.epsilon, steps=self.steps, queries=self.queries, pixel_max=self.pixel_max)
        positive(batch=self.batch, step=1 if self.step is None else self.step)
        in_range(1e-6, 1, fraction=self.fraction)
        for name in ("steps", "queries", "batch"):
            if getattr(self, name) != int(getattr(self, name)):
                raise UserError(f"{name}: expected a whole number, got {getattr(self, name)}")
        if self.norm == "l2" and self.kind != "pgd":
            raise UserError(f"norm=l2: expected kind=pgd with it, got kind={self.kind}")


ROBUSTNESS_ATTACKS = {
    "fgsm": RobustnessAttack("fgsm"),
    "pgd_linf": RobustnessAttack("pgd"),
    "pgd_l2": RobustnessAttack("pgd", norm="l2", epsilon=0.5),
    "square": RobustnessAttack("square"),
}


@dataclasses.dataclass(frozen=True)
class Robustness:
    """What an attack left of a model's accuracy.

    Attributes:
      attack: its settings.
      right: bool[n], whether the model has each row right as it is.
      outcomes: bool[n], whether it also does under attack.
      asked: int[n], pictures put through the model for each row, itself included; for "fgsm" and "pgd" all but the row
        itself also go back through it.
    """

    attack: RobustnessAttack
    right: np.ndarray
    outcomes: np.ndarray
    asked: np.ndarray

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.outcomes)

    @property
    def accuracy(self) -> float:
        """Share of rows that are right, and stay so under attack."""
        return float(self.outcomes.mean())

    @property
    def ci_low(self) -> float:
        """Lower end of the accuracy's interval, Clopper and Pearson's, 95 %."""
        return clopper_pearson(int(self.outcomes.sum()), self.n)[0]

    @property
    def ci_high(self) -> float:
        """Upper end likewise."""
        return clopper_pearson(int(self.outcomes.sum()), self.n)[1]

    @property
    def clean_accuracy(self) -> float:
        """Share of rows that are right as they are."""
        return float(self.right.mean())

    @property
    def queries(self) -> int:
        """Pictures put through the model."""
        return int(self.asked.sum())

    def part(self, rows: np.ndarray) -> "Robustness":
        """The same of some rows, int[m] or bool[n]: retained, forgotten and test rows can be attacked in one go."""
        return Robustness(self.attack, self.right[rows], self.outcomes[rows], self.asked[rows])


def robust_accuracy(
    model: Any,
    images: Images,
    labels: np.ndarray,
    attack: RobustnessAttack | None = None,
    *,
    ids: Sequence[str] | np.ndarray | None = None,
    from_logits: bool = True,
) -> Robustness:
    """Attacks each row that the model has right, and counts those that it still has right then.

    Rows that are wrong or beaten are asked about no more, and others take their place in the batch, so that the cost
    falls with the survivors. Draws are keyed by (seed, row id): but for the rounding of float32, an outcome depends
    neither on the batch nor on the other rows. Pictures are not rounded to whole grey levels.

    Args:
      model: Keras model, pixels float32[b, h, w, c] in 0..pixel_max to logits or probabilities [b, C], in evaluation
        mode, on TensorFlow.
      images: uint8 or float32 [n, h, w, c], n at least 1.
      labels: int[n], the true ones, from 0.
      attack: None for PGD-20 with its defaults.
      ids: strings [n], which key the draws; None keys them by the pictures themselves.
      from_logits: the model gives logits; otherwise probabilities.

    Raises:
      UserError: rows, attack and model do not fit together; one line says what.
    """
    attack = RobustnessAttack() if attack is None else attack
    labels = np.asarray(labels)
    _check(images, labels, ids, attack)
    given = answers(model, images, attack.batch)  # [n, C]
    _check_answers(given, labels, from_logits)
    right = given.argmax(1) == labels
    keys = _content_keys(images) if ids is None else row_keys(ids)  # [n]
    walk = (SquareWalk if attack.kind == "square" else GradientWalk)(model, attack, images.shape[1:], from_logits)
    outcomes, asked = _survivors(walk, images, labels.astype(np.int32), keys, np.flatnonzero(right), attack.batch)
    return Robustness(attack, right, outcomes, 1 + asked)


def _survivors(
    walk: GradientWalk | SquareWalk, images: Images, labels: np.ndarray, keys: np.ndarray, rows: np.ndarray, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows bool[n] outlast their walks, of those named in int[m], and how many pictures int[n] that took.

    Every call is full as long as rows wait: one that is beaten or through makes room for the next.
    """
    outcomes, asked = np.zeros(len(labels), bool), np.zeros(len(labels), int)
    at_work, waiting = np.zeros(0, int), 0  # [b]
    state = walk.begin(np.zeros((0, *images.shape[1:]), np.float32), keys[:0])
    while waiting < len(rows) or len(at_work):
        new = rows[waiting : waiting + batch - len(at_work)]
        if len(new):
            waiting, at_work = waiting + len(new), np.append(at_work, new)
            begun = walk.begin(np.asarray(images[new], np.float32), keys[new])
            state = tuple(np.concatenate(pair) for pair in zip(state, begun, strict=True))
        asked[at_work] += 1
        beaten, spent, state = walk.turn(labels[at_work], state)
        outcomes[at_work[spent & ~beaten]] = True
        stay = ~(beaten | spent)
        at_work, state = at_work[stay], tuple(part[stay] for part in state)
    return outcomes, asked


def gradient_masking(by_gradient: Robustness, gradient_free: Robustness, level: float = 0.05) -> str:
    """Warns where an attack without gradients beats clearly more rows than one that follows them [5].

    Clearly: with an exact one-sided sign test on the rows that only one of the two beats (McNemar), below `level`.

    Args:
      by_gradient: of "fgsm" or "pgd", on the same rows in the same order.
      gradient_free: of "square", in the same norm and with at most the same epsilon.
      level: of the test, in (0, 1).

    Returns:
      One line, or "" where there is nothing to warn of.

    Raises:
      UserError: the two cannot be compared.
    """
    first, second = by_gradient.attack, gradient_free.attack
    if first.kind == "square" or second.kind != "square":
        raise UserError(f"gradient_masking: expected fgsm or pgd and then square, got {first.kind} and {second.kind}")
    if by_gradient.n != gradient_free.n or first.norm != second.norm or second.epsilon > first.epsilon * (1 + 1e-9):
        raise UserError(
            f"gradient_masking: expected the same rows and ball, got n={by_gradient.n}, {first.norm}"
            f" {first.epsilon:g} and n={gradient_free.n}, {second.norm} {second.epsilon:g}"
        )
    only_free = int((by_gradient.outcomes & ~gradient_free.outcomes).sum())
    only_gradient = int((gradient_free.outcomes & ~by_gradient.outcomes).sum())
    if not only_free or special.bdtrc(only_free - 1, only_free + only_gradient, 0.5) >= level:
        return ""
    return (
        f"masked gradients: {second.kind} without gradients beats {only_free} rows that {first.kind} does not, and"
        f" {first.kind} {only_gradient} that {second.kind} does not; believe neither accuracy, only that it is lower"
    )


def _content_keys(images: Images) -> np.ndarray:
    """uint64[n], from each picture's pixels."""
    blocks = (np.asarray(images[i : i + 1]) for i in range(len(images)))
    return row_keys([hashlib.blake2b(np.ascontiguousarray(b).tobytes(), digest_size=16).hexdigest() for b in blocks])


def _check(images: Images, labels: np.ndarray, ids: Any, attack: RobustnessAttack) -> None:
    n = len(images)
    if images.ndim != 4 or images.dtype not in (np.uint8, np.float32) or not n:
        raise UserError(
            f"images: expected uint8 or float32 [n,h,w,c] of at least 1 row, got {images.dtype}{list(images.shape)}"
        )
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UserError(f"labels: expected int[{n}], got {labels.dtype}{list(labels.shape)}")
    if ids is not None and len(ids) != n:
        raise UserError(f"ids: expected {n}, one for each picture, got {len(ids)}")
    if images.dtype == np.uint8:
        low, high = 0.0, 255.0
    else:
        low, high = float(np.min(images[:])), float(np.max(images[:]))
    if not (low >= 0 and high <= attack.pixel_max) or (images.dtype != np.uint8 and 0 < high <= 1 < attack.pixel_max):
        raise UserError(
            f"images: {images.dtype} pixels from {low:g} to {high:g} do not fit pixel_max={attack.pixel_max:g}; pixels"
            " start at 0, and normalisation belongs inside the model"
        )


def _check_answers(given: np.ndarray, labels: np.ndarray, from_logits: bool) -> None:
    if given.ndim != 2 or given.shape[1] < 2 or not np.isfinite(given).all():
        raise UserError(f"model: expected finite logits [n, C] of at least 2 classes, got {list(given.shape)}")
    strange = labels[(labels < 0) | (labels >= given.shape[1])]
    if len(strange):
        raise UserError(f"labels: {strange[0]}, the model has classes 0 to {given.shape[1] - 1}")
    if not from_logits and not (given.min() >= 0 and np.allclose(given.sum(1), 1, atol=1e-3)):
        raise UserError("model: from_logits=False, but its answers are no probabilities that sum to 1")
