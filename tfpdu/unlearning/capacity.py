"""Deletion capacity: how many rows may be forgotten before the model gets worse than a stated excess risk.

Definition [1; Pan et al., definition 3]: the largest m for which, whatever U of at most m rows is forgotten, the
expected population risk of the unlearned model is at most 0.01 above the best possible one. The figures here do not
measure the same thing, which is why they are shown side by side:

- `theorem_guard`: no algorithm can do more than c n in the worst case (an upper bound, for eps <= 1, delta <= 0.005).
- `deletion_capacity`, `largest_request`: what the Newton step is *sure* to do, constants included, for a strongly
  convex loss.
- `newton_rate`, `private_rate`: the same and its rival, learning with differential privacy, as rates without constants.
- `measured_capacity`: what was seen on a test set, for any model, deep ones and exact unlearning included.

References:
  [1] Sekhari, Acharya, Kamath, Suresh. Remember what you want to forget: algorithms for machine unlearning. NeurIPS
      2021.
  [2] Shalev-Shwartz, Shamir, Srebro, Sridharan. Stochastic convex optimization. COLT 2009.
  [3] Maurer, Hothorn, Lehmacher. Multiple comparisons in drug clinical trials: a-priori ordered hypotheses. 1995.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.intervals import between_0_and_1, student
from tfpdu.common.validation import positive
from tfpdu.unlearning.noise import check_problem, newton_noise, open_unit, textbook_sigma

EXCESS = 0.01  # of the definition, in units of the loss


def theorem_guard(n: int, c: float) -> int:
    """floor(c n): Theorem 1's limit (Pan et al., from [1]), which gives c no number.

    For eps <= 1 and delta <= 0.005 there is a 4-Lipschitz, 1-strongly convex loss for which no learning and unlearning
    algorithms have a larger capacity than c n, with a c below 1. A configured c makes it a guard on requests, for any
    model.

    Args:
      n: rows learned, at least 1.
      c: in (0, 1).

    Returns:
      Rows.
    """
    positive(n=n)
    open_unit(c=c)
    return math.floor(c * n * (1 + 1e-12))  # 0.29 * 100 is 28.999... in floating point


def newton_rate(n: int, d: int, epsilon: float | None = None, delta: float | None = None) -> float:
    """n / d^(1/4), or n sqrt(epsilon) / (d ln(1/delta))^(1/4): the Newton step's rate [1], its constant left out.

    Args:
      n: rows learned, at least 1.
      d: weights, at least 1.
      epsilon: above 0; give both or neither.
      delta: in (0, 1).

    Returns:
      Rows, up to a constant. Holds for strongly convex losses only: with a network's d it is a figure for comparison.

    >>> int(newton_rate(5000, 11_186_112))  # ResNet18
    86
    """
    epsilon, log = _privacy_factors(n, d, epsilon, delta)
    return n * math.sqrt(epsilon) / (d * log) ** 0.25


def private_rate(n: int, d: int, epsilon: float | None = None, delta: float | None = None) -> float:
    """n / d^(1/2), or n epsilon / (d ln(1/delta))^(1/2): the rate of differentially private learning.

    [1]: noise for groups of m rows, whatever the request; nothing is unlearned. Arguments as of `newton_rate`.

    >>> int(private_rate(5000, 11_186_112))
    1
    """
    epsilon, log = _privacy_factors(n, d, epsilon, delta)
    return n * epsilon / math.sqrt(d * log)


def excess_risk_bound(
    n: int,
    m: int,
    d: int,
    lipschitz: float,
    strong_convexity: float,
    hessian_lipschitz: float,
    epsilon: float,
    delta: float,
) -> float:
    """sqrt(d) sigma L + m L^2 / (lambda (n - m)) + 4 L^2 / (lambda n), above the excess population risk.

    The three terms: the noise moves the weights by at most sqrt(d) sigma on average; the Newton step by at most
    m L / (lambda (n - m)), and L turns distances into losses; an exact minimiser on n rows is this far from the best
    [2].

    Args:
      lipschitz: L, here of the whole loss, at all weights that are reached: the units of the loss over those of
        weights.
      n: as of `newton_noise`, like all others.

    Returns:
      In units of the loss.
    """
    _, sigma = newton_noise(n, m, d, lipschitz, strong_convexity, hessian_lipschitz, epsilon, delta)
    noise = math.sqrt(d) * sigma * lipschitz
    return noise + m * lipschitz**2 / (strong_convexity * (n - m)) + 4 * lipschitz**2 / (strong_convexity * n)


def deletion_capacity(
    n: int,
    d: int,
    lipschitz: float,
    strong_convexity: float,
    hessian_lipschitz: float,
    epsilon: float,
    delta: float,
    tau: float = EXCESS / 2,
) -> float:
    """The capacity in explicit form: the m at which the noise alone costs `tau`.

        m = n sqrt( tau lambda^3 epsilon / (2 M L^3 sqrt(2 d ln(1.25/delta))) )

    `excess_risk_bound`'s first term solved for m: the n / d^(1/4) of `newton_rate`, with its constants.

    Args:
      n: as of `newton_noise`, like those that follow.
      tau: how much of the excess risk the noise may take, above 0, in units of the loss; half of 0.01 by default.

    Returns:
      Rows, not rounded, at most n. It is n for M = 0, a quadratic loss: the noise then limits nothing; the other terms
      do, see `largest_request`.

    >>> round(deletion_capacity(50_000, 512, 1, 1, 1, 1, 1e-5), 2)
    238.77
    """
    check_problem(n, d, lipschitz, strong_convexity, hessian_lipschitz)
    positive(tau=tau)
    per_gamma = textbook_sigma(1.0, epsilon, delta)
    if hessian_lipschitz == 0:
        return float(n)
    worth = 2 * hessian_lipschitz * lipschitz**3 * math.sqrt(d) * per_gamma
    return float(min(n, n * math.sqrt(tau * strong_convexity**3 / worth)))


def largest_request(
    n: int,
    d: int,
    lipschitz: float,
    strong_convexity: float,
    hessian_lipschitz: float,
    epsilon: float,
    delta: float,
    excess: float = EXCESS,
) -> int:
    """The largest m whose whole `excess_risk_bound` is at most `excess`, by bisection: the bound grows with m.

    Arguments as there. Returns rows in 0..n-1; 0 also where n is too small for any guarantee.
    """
    problem = (d, lipschitz, strong_convexity, hessian_lipschitz, epsilon, delta)
    positive(excess=excess)
    if excess_risk_bound(n, 0, *problem) > excess:
        return 0
    low, high = 0, n  # low is within the bound, high is not, or is no request
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if excess_risk_bound(n, middle, *problem) <= excess else (low, middle)
    return low


def network_capacity(n: int, d: int, c: float) -> list[dict[str, Any]]:
    """The figures that need no constants of the loss, so that they can be told of any model; see `capacity_table`.

    A network's loss is not convex, so none of them is a guarantee for it.

    Args:
      n: rows learned, at least 1.
      d: weights, at least 1.
      c: as of `theorem_guard`.

    >>> [int(figure["rows"]) for figure in network_capacity(5000, 11_186_112, 0.2)]
    [1000, 86, 1]
    """
    return [
        _figure("Theorem 1's guard", theorem_guard(n, c), "c n", f"{_PAPER}, lower bound", "upper bound"),
        _figure("Newton step, rate", newton_rate(n, d), "n / d^(1/4)", _PAPER, "rate"),
        _figure("Private learning, rate", private_rate(n, d), "n / d^(1/2)", _PAPER, "rate"),
    ]


def capacity_table(
    n: int,
    d: int,
    lipschitz: float,
    strong_convexity: float,
    hessian_lipschitz: float,
    epsilon: float,
    delta: float,
    c: float,
    excess: float = EXCESS,
) -> list[dict[str, Any]]:
    """The theoretical figures side by side; arguments as of the functions above.

    Returns:
      One dict a figure: `name`, `rows` (a number), `formula`, `source`, `kind`: 'upper bound' (of the worst case),
      'guarantee' (the Newton step does it, if the loss has these constants) or 'rate' (known up to a constant).
    """
    problem = (n, d, lipschitz, strong_convexity, hessian_lipschitz, epsilon, delta)
    guard, newton, private = network_capacity(n, d, c)
    return [
        guard,
        _figure(
            "Newton step, noise term",
            deletion_capacity(*problem, tau=excess / 2),
            "n sqrt(tau lambda^3 eps / (2 M L^3 sqrt(2 d ln(1.25/delta))))",
            f"{_PAPER}, constants derived here",
            "guarantee",
        ),
        _figure(
            "Newton step, all terms",
            largest_request(*problem, excess=excess),
            "largest m: sqrt(d) sigma L + m L^2/(lambda (n-m)) + 4 L^2/(lambda n) <= excess",
            f"{_PAPER}, constants derived here",
            "guarantee",
        ),
        newton,
        _figure(
            "Newton step, rate with epsilon and delta",
            newton_rate(n, d, epsilon, delta),
            "n sqrt(eps) / (d ln(1/delta))^(1/4)",
            _PAPER,
            "rate",
        ),
        private,
        _figure(
            "Private learning, rate with epsilon and delta",
            private_rate(n, d, epsilon, delta),
            "n eps / (d ln(1/delta))^(1/2)",
            _PAPER,
            "rate",
        ),
    ]


_PAPER = "Sekhari et al. 2021"


def _figure(name: str, rows: float, formula: str, source: str, kind: str) -> dict[str, Any]:
    return {"name": name, "rows": rows, "formula": formula, "source": source, "kind": kind}


@dataclasses.dataclass(frozen=True)
class MeasuredCapacity:
    """What `measured_capacity` found.

    Attributes:
      rows: the largest measured m up to which the mean excess is at most `excess` at every measured m; 0 if none.
      low: at least this many rows are sure, at the confidence.
      high: at most this many; infinite where no measured m is surely too large.
      excess: the limit, in units of the loss.
      confidence: of [low, high].
      points: one dict a measured m, in order: rows, excess (mean), ci_low, ci_high, pairs.
    """

    rows: int
    low: int
    high: float
    excess: float
    confidence: float
    points: tuple[dict[str, float], ...]


def measured_capacity(
    unlearned: Mapping[int, Sequence[float]],
    reference: Sequence[float] | Mapping[int, Sequence[float]],
    excess: float = EXCESS,
    confidence: float = 0.95,
) -> MeasuredCapacity:
    """The largest number of rows whose forgetting costs at most `excess` test loss, with an interval.

    At each m the seeds are paired (same draw of rows, same test rows) and the mean difference has Student's interval.
    The interval of the capacity tests the measured m in a fixed order, each at half of 1 - confidence, and ends at the
    first that fails, which needs no correction for many tests [3]: `low` goes up from the smallest m as long as the
    upper end stays within `excess`; `high` comes down from the largest m as long as the lower end is beyond it, and is
    one row less than the last such m. Between measured m the excess is taken to be monotone. Differences are assumed
    roughly normal.

    Args:
      unlearned: for each m (rows forgotten, at least 1) the mean test loss of the unlearned model, one a seed; at least
        two seeds.
      reference: of the model it is compared with, the same seeds in the same order: one list, of A(S), for every m;
        or for each m a list, of A(S without U).
      excess: in units of the loss, above 0.
      confidence: in (0, 1), of each point's and of the capacity's interval.

    Raises:
      UserError: no m, an m below 1, seeds that do not pair, fewer than two, or losses that are not finite.
    """
    between_0_and_1(confidence)
    positive(excess=excess)
    if not unlearned:
        raise UserError("measured_capacity: no number of forgotten rows was measured")
    points = []
    for m in sorted(unlearned):
        if m < 1 or int(m) != m:
            raise UserError(f"measured_capacity: m={m}: expected a whole number of rows of at least 1")
        if isinstance(reference, Mapping) and m not in reference:
            raise UserError(f"measured_capacity: m={m}: the reference has no losses for it")
        against = reference[m] if isinstance(reference, Mapping) else reference
        points.append(_paired(int(m), unlearned[m], against, confidence))
    within = _leading([point["excess"] <= excess for point in points])
    sure = _leading([point["ci_high"] <= excess for point in points])
    beyond = _leading([point["ci_low"] > excess for point in reversed(points)])
    return MeasuredCapacity(
        rows=int(points[within - 1]["rows"]) if within else 0,
        low=int(points[sure - 1]["rows"]) if sure else 0,
        high=points[-beyond]["rows"] - 1 if beyond else math.inf,
        excess=excess,
        confidence=confidence,
        points=tuple(points),
    )


def _paired(m: int, losses: Sequence[float], reference: Sequence[float], confidence: float) -> dict[str, float]:
    ours, theirs = np.asarray(losses, np.float64), np.asarray(reference, np.float64)
    if ours.ndim != 1 or ours.shape != theirs.shape or len(ours) < 2:
        raise UserError(
            f"measured_capacity: m={m}: expected as many losses as the reference has, at least 2, "
            f"got {ours.size} and {theirs.size}"
        )
    difference = ours - theirs
    if not np.isfinite(difference).all():
        raise UserError(
            f"measured_capacity: m={m}: seed {np.flatnonzero(~np.isfinite(difference))[0]} has no finite loss"
        )
    mean, half = student(difference, confidence)
    return {"rows": m, "excess": mean, "ci_low": mean - half, "ci_high": mean + half, "pairs": len(difference)}


def _leading(flags: Sequence[bool]) -> int:
    """How many are true before the first that is not."""
    return next((i for i, flag in enumerate(flags) if not flag), len(flags))


def _privacy_factors(n: int, d: int, epsilon: float | None, delta: float | None) -> tuple[float, float]:
    """(epsilon, ln(1/delta)), or ones where neither is given."""
    positive(n=n, d=d)
    if epsilon is None and delta is None:
        return 1.0, 1.0
    if epsilon is None or delta is None:
        raise UserError("rate: expected both epsilon and delta, or neither")
    positive(epsilon=epsilon)
    open_unit(delta=delta)
    return epsilon, math.log(1 / delta)
