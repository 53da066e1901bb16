"""A differentially private classifier: softmax regression on frozen features, learned by DP-SGD.

Batch normalisation mixes the rows of a batch, so DP-SGD cannot train the shards' networks. On features of a network
that no private row has trained it trains the last layer, which is the strong simple way to a private classifier of few
rows (Tramer and Boneh, 2021; De et al., 2022). A row's gradient is the outer product of its features and the error
of its probabilities, so its norm is the product of theirs, and no gradient need be made for a row apart.

References:
  Abadi et al. Deep learning with differential privacy. CCS 2016 (DP-SGD).
  Tramer, Boneh. Differentially private learning needs better features. ICLR 2021.
  De, Berrada, Hayes, Smith, Balle. Unlocking high-accuracy differentially private image classification. 2022.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import id_hashes, mix, rng
from tfpdu.common.validation import positive
from tfpdu.diffusion.poisson import chosen
from tfpdu.diffusion.private import Privacy, PrivateSettings, plan
from tfpdu.ensemble.aggregate import softmax


@dataclasses.dataclass(frozen=True)
class PrivateHeadSettings:
    """How the head is learned.

    Attributes:
      private: epsilon, delta and clipping norm; an epsilon of 0 leaves out the noise, and nothing else.
      batch: the expected number of rows a step.
      steps: of SGD.
      learning_rate: of SGD, constant.
    """

    private: PrivateSettings
    batch: int = 500
    steps: int = 500
    learning_rate: float = 2.0

    def __post_init__(self) -> None:
        positive(batch=self.batch, steps=self.steps, learning_rate=self.learning_rate)


@dataclasses.dataclass(frozen=True)
class PrivateHead:
    """What was learned.

    Attributes:
      weights: float64[d + 1, C]; the last row is the intercept's.
      privacy: what the training has spent; None where it had no noise.
    """

    weights: np.ndarray
    privacy: Privacy | None

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """float64[n, C] of features [n, d]."""
        return softmax(_rows(features) @ self.weights)


def learn_private_head(
    features: np.ndarray, labels: np.ndarray, classes: int, ids: Sequence[str], settings: PrivateHeadSettings, key: str
) -> PrivateHead:
    """Learns by DP-SGD with Poisson sampling; a step sees one view of each row it draws.

    Args:
      features: float[n, V, d] of the V views of each row, by a network that no row here has trained. Each is scaled to
        norm 1 by itself.
      labels: int[n] in 0..classes-1.
      classes: C.
      ids: n distinct strings; what happens to a row depends on its own alone.
      settings: see there.
      key: of sampling, views and noise. Who knows it can take the noise off: the claim is for a secret one.

    Raises:
      UserError: shapes that do not fit, features that are not finite, or an epsilon out of reach.
    """
    n = len(features)
    if features.ndim != 3 or labels.shape != (n,) or len(ids) != n or not n:
        raise UserError(f"features: expected [n, views, d] with n labels and ids, got {features.shape} and {len(ids)}")
    if not np.isfinite(features).all():
        raise UserError("features: some are not finite")
    if settings.batch > n:
        raise UserError(f"batch: {settings.batch} rows a step are more than the {n} rows there are")
    private, hashes = settings.private, id_hashes(ids, "private head", key)
    privacy = plan(private, n, settings.batch, settings.steps) if private.epsilon else None
    noise = privacy.noise_multiplier * private.clip_norm if privacy else 0.0
    targets = np.eye(classes)[labels]
    weights = np.zeros((features.shape[2] + 1, classes))
    for step in range(settings.steps):
        drawn = chosen(hashes, settings.batch / n, step)
        view = (mix(hashes[drawn], "view", step) % np.uint64(features.shape[1])).astype(np.int64)
        total = clipped_sum(weights, features[drawn, view], targets[drawn], private.clip_norm)
        total += noise * rng("private head", key, step).standard_normal(weights.shape)
        weights -= settings.learning_rate / settings.batch * total
    return PrivateHead(weights, privacy)


def clipped_sum(weights: np.ndarray, features: np.ndarray, targets: np.ndarray, clip_norm: float) -> np.ndarray:
    """The sum of the rows' cross-entropy gradients, each cut to `clip_norm`.

    Args:
      weights: float64[d + 1, C].
      features: float[b, d].
      targets: float64[b, C], one-hot.
      clip_norm: above 0.

    Returns:
      float64[d + 1, C].
    """
    rows = _rows(features)  # [b, d + 1]
    errors = softmax(rows @ weights) - targets  # [b, C]
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(errors, axis=1)
    factors = np.minimum(1.0, clip_norm / np.maximum(norms, 1e-300))
    return np.asarray(rows.T @ (errors * factors[:, None]))


def most_success(epsilon: float, delta: float) -> float:
    """The highest (TPR + TNR) / 2 that an attack on one row can have; from Kairouz et al. (2015).

    >>> round(most_success(1.0, 0.0), 4)
    0.7311
    """
    return (1.0 + delta * math.exp(-epsilon)) / (1.0 + math.exp(-epsilon))


def _rows(features: np.ndarray) -> np.ndarray:
    """Features of norm 1 with a constant 1 behind them, float64[n, d + 1]."""
    features = np.asarray(features, np.float64)
    norms = np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.hstack([features / norms, np.ones((len(features), 1))])
