"""The convex head: how it is set, how it sees features, what its noise costs, and what of it may be published."""

import dataclasses
import math
from typing import Any

import numpy as np
from scipy import special

from tfpdu.common import UserError
from tfpdu.common.validation import non_negative, positive
from tfpdu.unlearning import logistic
from tfpdu.unlearning.noise import gaussian_sigma, open_unit


@dataclasses.dataclass(frozen=True)
class HeadSettings:
    """What is learned, and what is claimed.

    Attributes:
      feature_norm: B; longer feature vectors are scaled to this norm, each by itself. Above 0.
      intercept: append a constant 1 to the features; it counts to R = sqrt(B^2 + 1) and is regularised.
      strong_convexity: lambda, the weight of the L2 term. Above 0. With `distance=0` the noise goes with 1 / lambda^3.
      capacity: m, how many rows may be forgotten before the head has to be learned anew. At least 1. With `distance=0`
        the noise goes with m^2, otherwise it does not depend on it.
      epsilon: of the claim, above 0.
      delta: of the claim, in (0, 1).
      residual: r, the gradient norm at which minimising ends. Above 0.
      distance: Newton steps are repeated until the gradient shows that the weights are at most this far from those
        without the forgotten rows, and the noise is made for that; mostly the first step will do. At least 0; 0 takes
        one step and makes the noise for what it can be wrong by on the worst rows there could be, in practice orders
        of magnitude more.
    """

    feature_norm: float = 1.0
    intercept: bool = True
    strong_convexity: float = 0.1
    capacity: int = 1
    epsilon: float = 1.0
    delta: float = 1e-5
    residual: float = 1e-9
    distance: float = 1e-3

    def __post_init__(self) -> None:
        positive(
            feature_norm=self.feature_norm,
            strong_convexity=self.strong_convexity,
            capacity=self.capacity,
            epsilon=self.epsilon,
            residual=self.residual,
        )
        open_unit(delta=self.delta)
        non_negative(distance=self.distance)
        if int(self.capacity) != self.capacity:
            raise UserError(f"capacity: expected a whole number of rows, got {self.capacity!r}")

    @property
    def radius(self) -> float:
        """R, the largest norm of a row as the head sees it."""
        return math.hypot(self.feature_norm, 1.0) if self.intercept else self.feature_norm

    def gamma(self, rows: int) -> float:
        """How far apart the centres can be for a head of `rows` rows: the formula of `tfpdu.unlearning.certified`."""
        off = self.residual / self.strong_convexity
        if self.distance:
            return self.distance + off
        bound = logistic.lipschitz(self.radius)
        moved = logistic.displacement(rows, self.capacity, bound, self.strong_convexity) + off
        return logistic.hessian_lipschitz(self.radius) / (2 * self.strong_convexity) * moved**2 + 2 * off

    def sigma(self, rows: int) -> float:
        """Standard deviation of the noise on each weight: the least that proves the claim, `gaussian_sigma`."""
        return gaussian_sigma(self.gamma(rows), self.epsilon, self.delta)

    def noise_cost(self, rows: int, classes: int) -> float:
        """The noise raises the mean cross entropy (nats), on any rows, by at most this on average.

        (sigma^2 / 2) (1 - 1/K) R^2: under Gaussian noise the mean loss grows at half the rate of the Hessian's trace
        (the heat equation), and the trace of (diag(p) - p p^T) kron (x x^T) is (1 - sum p^2) norm(x)^2.
        """
        return self.sigma(rows) ** 2 / 2 * (1 - 1 / classes) * self.radius**2

    def prepared(self, features: Any) -> np.ndarray:
        """Features as the head sees them: cut to `feature_norm`, and with a last column of ones where `intercept`.

        Args:
          features: real[n, p], finite.

        Returns:
          float64[n, p or p + 1].
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not features.shape[1]:
            raise UserError(f"features: expected a table [rows, features], got shape {list(features.shape)}")
        wrong = ~np.isfinite(features).all(axis=1)
        if wrong.any():
            raise UserError(f"features: row {np.flatnonzero(wrong)[0]} holds a NaN or an infinity")
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        cut = features * (self.feature_norm / np.maximum(norms, self.feature_norm))
        return np.hstack([cut, np.ones((len(cut), 1))]) if self.intercept else cut


@dataclasses.dataclass(frozen=True)
class HeadRelease:
    """A head with its noise: what may be published.

    Attributes:
      weights: float64[K, p], or [K, p + 1] with the intercepts last.
      settings: of the head; its features are prepared in the same way.
    """

    weights: np.ndarray
    settings: HeadSettings

    def probabilities(self, features: Any) -> np.ndarray:
        """float64[n, K] for real[n, p] features of the same extractor."""
        prepared = self.settings.prepared(features)
        if prepared.shape[1] != self.weights.shape[1]:
            known = self.weights.shape[1] - self.settings.intercept
            raise UserError(
                f"features: the head knows {known} features, got {prepared.shape[1] - self.settings.intercept}"
            )
        return special.softmax(prepared @ self.weights.T, axis=1)

    def predict(self, features: Any) -> np.ndarray:
        """int64[n], the likeliest classes."""
        return self.probabilities(features).argmax(axis=1)
