"""Was it deleted? A test of two hypotheses on n rows, and the comparison with an exactly retrained model.

Reference:
  [1] Yu, Zhang, Chen, Yin, Liu. How does data augmentation affect privacy in machine learning? AAAI 2021
      (`verify_unlearning` of the released code).
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from tfpdu.audit.losses import checked
from tfpdu.audit.statistics import SuccessRate, scores
from tfpdu.common.errors import UserError
from tfpdu.common.validation import in_range


@dataclasses.dataclass(frozen=True)
class DeletionRule:
    """Says "deleted" when at least `needed` of n rows that were to be deleted are called non-members.

    Attributes:
      n: how many rows are looked at.
      needed: s in [1].
      false_deleted: probability of saying "deleted" while the model still holds all n rows (t0 in [1]).
      false_kept: probability of not saying so although none is left (t1).
    """

    n: int
    needed: int
    false_deleted: float
    false_kept: float

    def says_deleted(self, called_nonmembers: int) -> bool:
        """The verdict on rows of which so many were called non-members."""
        if not 0 <= called_nonmembers <= self.n:
            raise UserError(f"deletion test: {called_nonmembers} of {self.n} rows is not possible")
        return called_nonmembers >= self.needed


def deletion_errors(tpr: float, tnr: float, needed: int, n: int) -> tuple[float, float]:
    """Both errors of the rule "deleted if at least `needed` of n rows are called non-members" [1].

    The rows count as independent, and the attack's rates as known: take them from rows that fitted neither attack nor
    threshold (`success_rate`).

    Args:
      tpr: share of members that the attack calls members, in [0, 1].
      tnr: share of non-members that it calls non-members, in [0, 1].
      needed: from 0 to n + 1; with n + 1 the rule never says "deleted".
      n: rows.

    Returns:
      P[Bin(n, 1 - tpr) >= needed], false "deleted", and P[Bin(n, tnr) < needed], false "kept".

    >>> [round(error, 5) for error in deletion_errors(0.8, 0.7, 3, 5)]
    [0.05792, 0.16308]
    """
    in_range(0, 1, tpr=tpr, tnr=tnr)
    if n < 1 or not 0 <= needed <= n + 1:
        raise UserError(f"deletion test: expected 1 <= n and 0 <= needed <= n + 1, got n={n}, needed={needed}")
    return float(stats.binom.sf(needed - 1, n, 1 - tpr)), float(stats.binom.cdf(needed - 1, n, tnr))


def deletion_rule(tpr: float, tnr: float, n: int, level: float = 1e-3) -> DeletionRule:
    """The rule on n rows with the least false "kept" whose false "deleted" is below `level` (0.001 in [1]).

    >>> round(deletion_rule(0.8, 0.7, 30).false_kept, 10)
    0.0021246908
    """
    in_range(0, 1, level=level)
    # More rows needed make "deleted" rarer, whether right or wrong: the first that is rare enough is the best.
    for needed in range(n + 2):
        false_deleted, false_kept = deletion_errors(tpr, tnr, needed, n)
        if false_deleted < level:
            break
    return DeletionRule(n, needed, false_deleted, false_kept)


def deletion_verdict(forgotten: Any, rate: SuccessRate, level: float = 1e-3) -> tuple[DeletionRule, bool]:
    """The rule for these rows, and its verdict: True says "deleted".

    Args:
      forgotten: float[n], an attack's scores of the rows that were to be deleted, on the model after the deletion.
      rate: the attack's rates, and its threshold, on other rows of known membership; at best those of the model
        before the deletion.
      level: false "deleted" must be rarer.
    """
    values = scores(forgotten, "forgotten")
    rule = deletion_rule(rate.tpr, rate.tnr, len(values), level)
    return rule, rule.says_deleted(int((values < rate.threshold).sum()))


@dataclasses.dataclass(frozen=True)
class AnswerGap:
    """How far two models' answers on the same n rows are apart.

    Attributes:
      identical: the answers have the same bits.
      largest: the largest difference of two probabilities, in [0, 1].
      total_variation: mean over the rows of half the sum of the differences, in [0, 1].
      largest_total_variation: of the worst row.
      agreement: share of rows with the same likeliest class.
      n: rows.
    """

    identical: bool
    largest: float
    total_variation: float
    largest_total_variation: float
    agreement: float
    n: int


def compare_answers(first: Any, second: Any) -> AnswerGap:
    """Compares a model after a deletion with one that was trained without the rows from the start.

    For exact unlearning the answers are bit-identical, on deleted rows and on all others; for an approximation the gap
    is to be set beside that of two retrained models with different seeds.

    Args:
      first: probabilities [n, C], at least one row, the same rows and classes as
      second: those of the other model. Give both as the models return them: a cast may hide or make a difference.
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise UserError(f"compare_answers: expected two tables [n, C] alike, got {list(a.shape)} and {list(b.shape)}")
    identical = a.dtype == b.dtype and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()
    p, q = (checked(table, np.zeros(len(table), int))[0] for table in (a, b))
    gap = np.abs(p - q)
    variation = gap.sum(axis=1) / 2
    return AnswerGap(
        identical=identical,
        largest=float(gap.max()),
        total_variation=float(variation.mean()),
        largest_total_variation=float(variation.max()),
        agreement=float(np.mean(p.argmax(axis=1) == q.argmax(axis=1))),
        n=len(p),
    )
