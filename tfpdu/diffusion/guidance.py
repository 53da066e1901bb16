"""Classifier-free guidance, jointly over class and attributes.

Convention: D = D_u + g * (D_c - D_u), where D_c knows the condition and D_u knows nothing. So **g = 1 is the
conditional model itself**, g = 0 the unconditional one, and g > 1 exaggerates the condition. Ho & Salimans (2022) write
w = g - 1. The score is affine in D, so the same combination holds in D-space.

Guidance adds a bias of its own that grows with g and lowers diversity: marginals are set by which labels are asked for,
never by g. It does so most at high noise, where it settles what a picture is about, and does nothing at low noise; so
it may be confined to noise levels in between (Kynkaanniemi et al., 2024, "Applying guidance in a limited interval"),
which also saves evaluations.
"""

from collections.abc import Callable

import numpy as np

from tfpdu.diffusion.sampler import Denoise

Conditional = Callable[[np.ndarray, float, np.ndarray, np.ndarray], np.ndarray]  # (z, sigma, labels, attributes) -> D

UNKNOWN = -1


def guided(
    denoise: Conditional,
    labels: np.ndarray,
    attributes: np.ndarray,
    scale: float,
    low: float = 0.0,
    high: float = np.inf,
) -> Denoise:
    """Binds a condition to a denoiser. g = 0 and g = 1 cost one evaluation, every other g two.

    Args:
      denoise: D(z, sigma, labels, attributes), float64[b, h, w, c] in and out.
      labels: int[b]; attributes: int[b, j]; -1 is unknown.
      scale: g.
      low, high: g is 1 at other noise levels than low <= sigma <= high.

    Returns:
      (z, sigma) -> guided D.
    """
    nothing = np.full_like(labels, UNKNOWN), np.full_like(attributes, UNKNOWN)

    def conditional(z: np.ndarray, sigma: float) -> np.ndarray:
        return denoise(z, sigma, labels, attributes)

    def unconditional(z: np.ndarray, sigma: float) -> np.ndarray:
        return denoise(z, sigma, *nothing)

    def both(z: np.ndarray, sigma: float) -> np.ndarray:
        free = unconditional(z, sigma)
        return free + scale * (conditional(z, sigma) - free)

    inside = {0.0: unconditional, 1.0: conditional}.get(float(scale), both)

    def confined(z: np.ndarray, sigma: float) -> np.ndarray:
        return inside(z, sigma) if low <= sigma <= high else conditional(z, sigma)

    return confined
