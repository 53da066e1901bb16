"""Samplers of the probability-flow ODE dz/dsigma = (z - D(z; sigma)) / sigma, with or without churn, in float64.

They run on the host and only the denoiser on the accelerator, so a sample does not depend on the backend's own
arithmetic between steps.

Reference: Karras et al. (2022), eq. 5 (schedule) and Algorithm 2 (Heun, churn).
"""

import dataclasses
import enum
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import rng

Denoise = Callable[[np.ndarray, float], np.ndarray]  # (z [b, ...], sigma) -> D [b, ...]


class Sampler(enum.StrEnum):
    """Heun is of second order and costs 2 * steps - 1 evaluations; Euler is of first order and costs `steps`."""

    HEUN = "heun"
    EULER = "euler"


@dataclasses.dataclass(frozen=True)
class Churn:
    """Stochastic sampling: before a step a little noise is put back, which later steps remove with new content.

    Attributes:
      amount: S_churn; 0 is the deterministic sampler. A step raises its noise level by the factor
        1 + min(amount / steps, sqrt(2) - 1).
      low, high: S_tmin and S_tmax, the noise levels between which it does so.
      noise: S_noise, the standard deviation of what is put back; a little above 1 makes up for a denoiser that
        removes a little too much.
    """

    amount: float = 0.0
    low: float = 0.05
    high: float = 50.0
    noise: float = 1.003

    def raised(self, sigma: float, steps: int) -> float:
        """sigma-hat, the level that a step at sigma starts from."""
        inside = self.low <= sigma <= self.high
        return sigma * (1 + min(self.amount / steps, 2**0.5 - 1)) if inside else sigma


def sigma_schedule(steps: int, sigma_min: float, sigma_max: float, rho: float) -> np.ndarray:
    """Noise levels from sigma_max down to sigma_min, then 0. Karras et al. (2022), eq. 5.

    Returns:
      float64[steps + 1], strictly falling.

    Raises:
      UserError: fewer than 2 steps, or not 0 < sigma_min < sigma_max, or rho not above 0.

    >>> sigma_schedule(5, 0.002, 80, 7).round(6).tolist()
    [80.0, 17.527832, 2.515219, 0.169753, 0.002, 0.0]
    """
    if steps < 2:
        raise UserError(f"steps: a sampler needs at least 2, got {steps}")
    if not (np.isfinite(sigma_max) and 0 < sigma_min < sigma_max):
        raise UserError(f"sigma: expected 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")
    if not rho > 0:
        raise UserError(f"rho: expected a number above 0, got {rho}")
    ramp = np.arange(steps) / (steps - 1)
    levels = (sigma_max ** (1 / rho) + ramp * (sigma_min ** (1 / rho) - sigma_max ** (1 / rho))) ** rho
    return np.append(levels, 0.0)


def integrate(
    denoise: Denoise,
    noise: np.ndarray,
    sigmas: np.ndarray,
    sampler: Sampler = Sampler.HEUN,
    churn: Churn | None = None,
    fresh: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """Carries standard normal noise down the schedule to images.

    Args:
      denoise: D(z, sigma), called with float64 arrays of the shape of `noise`.
      noise: standard normal, [b, ...]; the start is sigmas[0] * noise.
      sigmas: float64[steps + 1], ending with 0, see `sigma_schedule`.
      sampler: the rule for a step.
      churn: None, or an amount of 0, samples deterministically.
      fresh: step number from 0 -> standard normal noise of the shape of `noise`; needed for churn.

    Returns:
      float64 of the shape of `noise`.
    """
    z = np.asarray(noise, np.float64) * sigmas[0]
    for step, (now, after) in enumerate(itertools.pairwise(sigmas)):
        if churn and churn.amount and fresh:
            raised = churn.raised(now, len(sigmas) - 1)
            if raised > now:
                z = z + (raised**2 - now**2) ** 0.5 * churn.noise * fresh(step)
                now = raised
        slope = (z - denoise(z, now)) / now
        euler = z + (after - now) * slope
        if sampler is Sampler.HEUN and after > 0:  # trapezoid correction; impossible at sigma = 0
            slope = (slope + (euler - denoise(euler, after)) / after) / 2
            euler = z + (after - now) * slope
        z = euler
    return z


def keyed_noise(keys: Sequence[str], shape: tuple[int, ...], seed: int, *purpose: object) -> np.ndarray:
    """Standard normal noise, float64[len(keys), *shape]; row i depends on (seed, keys[i], purpose) alone."""
    if not len(keys):
        return np.zeros((0, *shape))
    return np.stack([rng("sample", seed, key, *purpose).standard_normal(shape) for key in keys])
