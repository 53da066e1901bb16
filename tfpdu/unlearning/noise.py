"""Gaussian noise: how much an (epsilon, delta) claim needs, what several releases add up to, and where it is drawn.

For two centres at most `sensitivity` apart and noise N(0, sigma^2 I), the smallest delta that goes with epsilon is

    delta(epsilon) = Phi(s/2 - epsilon/s) - e^epsilon Phi(-s/2 - epsilon/s),   s = sensitivity / sigma

in any dimension [1, theorem 8]. The textbook's sigma = (sensitivity/epsilon) sqrt(2 ln(1.25/delta)) [2, theorem A.1] is
larger than needed, and is proven for epsilon below 1 only.

References:
  [1] Balle, Wang. Improving the Gaussian mechanism for differential privacy. ICML 2018.
  [2] Dwork, Roth. The algorithmic foundations of differential privacy. 2014.
  [3] Dong, Roth, Su. Gaussian differential privacy. 2022.
  [4] Sekhari, Acharya, Kamath, Suresh. Remember what you want to forget. NeurIPS 2021.
"""

import hashlib
import math
from typing import Any

import numpy as np
from scipy import optimize, special

from tfpdu.common import UserError
from tfpdu.common.validation import non_negative, positive
from tfpdu.unlearning.logistic import displacement


def gaussian_delta(epsilon: float, ratio: float) -> float:
    """The smallest delta of Gaussian noise at this epsilon [1, theorem 8].

    Args:
      epsilon: at least 0.
      ratio: s, the distance of the centres in standard deviations of the noise; at least 0, infinite for no noise.

    Returns:
      In [0, 1].

    >>> round(gaussian_delta(1.0, 0.5), 6)
    0.00683
    """
    non_negative(epsilon=epsilon)
    if ratio == 0:
        return 0.0
    if math.isinf(ratio):
        return 1.0
    non_negative(ratio=ratio)
    near = special.ndtr(ratio / 2 - epsilon / ratio)
    far = math.exp(epsilon + special.log_ndtr(-ratio / 2 - epsilon / ratio))  # in logs, or e^epsilon overflows
    return max(0.0, float(near) - far)


def gaussian_epsilon(ratio: float, delta: float) -> float:
    """The smallest epsilon of Gaussian noise at this delta, the inverse of `gaussian_delta`.

    k releases with noise of their own, each with centres at most `ratio` standard deviations apart, are together one
    with sqrt(k) * ratio [3], whether or not later ones depend on what earlier ones showed.

    Args:
      ratio: at least 0.
      delta: in (0, 1).

    >>> round(gaussian_epsilon(0.5, gaussian_delta(1.0, 0.5)), 9)
    1.0
    """
    non_negative(ratio=ratio)
    open_unit(delta=delta)
    if gaussian_delta(0.0, ratio) <= delta:
        return 0.0
    most = 1.0
    while gaussian_delta(most, ratio) > delta:
        most *= 2
    return float(optimize.brentq(lambda epsilon: gaussian_delta(epsilon, ratio) - delta, 0.0, most, xtol=1e-12))


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """The least standard deviation that makes centres up to `sensitivity` apart (epsilon, delta)-indistinguishable.

    Args:
      sensitivity: Euclidean, at least 0; 0 needs no noise.
      epsilon: above 0.
      delta: in (0, 1).

    >>> round(gaussian_sigma(1.0, 1.0, 1e-5), 4)
    3.7306
    """
    _claim(sensitivity, epsilon, delta)
    low = high = 0.0  # logarithms of sigma / sensitivity
    while gaussian_delta(epsilon, math.exp(-high)) > delta:
        high += 1
    while gaussian_delta(epsilon, math.exp(-low)) < delta:
        low -= 1

    def excess(log_sigma: float) -> float:
        return gaussian_delta(epsilon, math.exp(-log_sigma)) - delta

    # The root's error is below 1e-12 of sigma; rounding up keeps the claim true.
    log_sigma = low if low == high else float(optimize.brentq(excess, low, high, xtol=1e-12)) + 2e-12
    return sensitivity * math.exp(log_sigma)


def textbook_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """(sensitivity/epsilon) sqrt(2 ln(1.25/delta)) [2, theorem A.1], or `gaussian_sigma` where that is larger.

    It is larger only where the theorem does not hold, at epsilon well above 1 or a delta near 1. Arguments as there.
    """
    _claim(sensitivity, epsilon, delta)
    textbook = sensitivity / epsilon * math.sqrt(2 * math.log(1.25 / delta))
    return max(textbook, gaussian_sigma(sensitivity, epsilon, delta))


def newton_noise(
    n: int,
    m: int,
    d: int,
    lipschitz: float,
    strong_convexity: float,
    hessian_lipschitz: float,
    epsilon: float,
    delta: float,
) -> tuple[float, float]:
    """The error of one Newton step, and the noise that hides it [4, strongly convex losses].

    gamma = 2 M L^2 m^2 / (lambda^3 n^2), sigma = (gamma/epsilon) sqrt(2 ln(1.25/delta)); for an epsilon so far above 1
    that the second formula is no proof, the exact sigma of `gaussian_sigma`.

    Args:
      n: rows that were learned, at least 1.
      m: rows to forget at most, 0..n-1.
      d: number of weights, at least 1. The noise of one weight does not depend on it; its norm is sigma sqrt(d).
      lipschitz: L, bounds the gradient norm of one row's loss, above 0. For an L2-regularised loss the data term's own
        bound is enough, see `tfpdu.unlearning.logistic.displacement`.
      strong_convexity: lambda of every row's loss, above 0.
      hessian_lipschitz: M of every row's Hessian, at least 0. With 0 the loss is quadratic, the step exact, the noise
        0.
      epsilon: above 0.
      delta: in (0, 1).

    Returns:
      (gamma, sigma): a distance of weights, and a standard deviation per weight.

    Raises:
      UserError: an argument out of its range.

    >>> gamma, sigma = newton_noise(50_000, 500, 512, 1, 1, 1, 1, 1e-5)
    >>> round(gamma, 12), round(sigma, 9)
    (0.0002, 0.000968961)
    """
    check_problem(n, d, lipschitz, strong_convexity, hessian_lipschitz)
    check_count(n, m)
    moved = displacement(n, m, lipschitz, strong_convexity)
    gamma = hessian_lipschitz / (2 * strong_convexity) * moved**2
    return gamma, textbook_sigma(gamma, epsilon, delta)


def check_problem(n: int, d: int, lipschitz: float, strong_convexity: float, hessian_lipschitz: float) -> None:
    """Raises unless n and d are whole numbers of at least 1, L and lambda above 0 and M at least 0."""
    for name, value in {"n": n, "d": d}.items():
        if value < 1 or int(value) != value:
            raise UserError(f"{name}: expected a whole number of at least 1, got {value!r}")
    positive(lipschitz=lipschitz, strong_convexity=strong_convexity)
    if not 0 <= hessian_lipschitz < math.inf:
        raise UserError(f"hessian_lipschitz: expected a number of at least 0, got {hessian_lipschitz!r}")


def check_count(n: int, m: int) -> None:
    """Raises unless m is a whole number in 0..n-1."""
    if not 0 <= m < n or int(m) != m:
        raise UserError(f"m: expected a whole number of rows from 0 to {n - 1} (of n={n} one must stay), got {m!r}")


def secret_noise(secret: str, size: int, *purpose: Any) -> np.ndarray:
    """Standard normal noise that the secret and the purpose fix, and that nobody without the secret can foretell.

    Uniform 52-bit numbers from SHAKE-256 over secret and purpose, through the inverse normal distribution function.
    A generator seeded with 64 bits could be tried out; this cannot. As with any noise in floating point, the lowest
    bits of the sum are not those of an ideal Gaussian (Mironov, 2012).

    Args:
      secret: at least 128 bits of randomness as text, see `tfpdu.common.files.secret`.
      size: how many numbers.
      *purpose: what the noise is for; another purpose, or another secret, gives independent noise.

    Returns:
      float64[size], within 8.3 standard deviations.
    """
    text = "\x1f".join([secret, *(str(part) for part in purpose)])
    words = np.frombuffer(hashlib.shake_256(text.encode()).digest(8 * size), "<u8")
    return special.ndtri(((words >> np.uint64(12)) + 0.5) * 2.0**-52)


def open_unit(**values: float) -> None:
    """Raises unless every value lies strictly between 0 and 1."""
    for name, value in values.items():
        if not 0 < value < 1:
            raise UserError(f"{name}: expected a number strictly between 0 and 1, got {value!r}")


def _claim(sensitivity: float, epsilon: float, delta: float) -> None:
    non_negative(sensitivity=sensitivity)
    positive(epsilon=epsilon)
    open_unit(delta=delta)
