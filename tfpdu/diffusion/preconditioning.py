"""The denoiser's algebra: noising, preconditioning, loss weighting and the law of noise levels.

The noisy image is z = z0 + sigma * eta with eta ~ N(0, I), images scaled to [-1, 1]. Where a paper writes a time t,
this code uses the noise level itself: t := sigma.

    D(z; sigma, c) = c_skip * z + c_out * F(c_in * z; c_noise, c)

where F is the network, c the condition (class and attributes) and D estimates z0.

References: Karras et al. (2022), "Elucidating the design space of diffusion-based generative models", Table 1, eqs 7-8;
Hang et al. (2023), "Efficient diffusion training via Min-SNR weighting strategy".
"""

from typing import Any

import numpy as np
from keras import ops
from scipy.special import ndtri

from tfpdu.common import UserError
from tfpdu.diffusion.settings import Weighting

MIN_SNR_GAMMA = 5.0


def preconditioning(sigma: Any, sigma_data: float) -> tuple[Any, Any, Any, Any]:
    """Karras et al. (2022), Table 1.

    Args:
      sigma: noise levels above 0, of any shape: a number, a NumPy array (computed in float64), or a Keras tensor.
      sigma_data: standard deviation of the images in [-1, 1]; 0.5 is customary.

    Returns:
      (c_skip, c_out, c_in, c_noise), each of the shape of sigma.

    Raises:
      UserError: a number or array holds a value that is not finite and above 0.

    >>> [round(float(c), 6) for c in preconditioning(0.5, 0.5)]
    [0.5, 0.353553, 1.414214, -0.173287]
    """
    log: Any = ops.log
    if isinstance(sigma, int | float | np.ndarray | np.generic):
        sigma, log = _checked(sigma), np.log
    total = sigma**2 + sigma_data**2
    return sigma_data**2 / total, sigma * sigma_data / total**0.5, total**-0.5, log(sigma) / 4


def loss_weight(sigma: Any, sigma_data: float, weighting: Weighting) -> Any:
    """lambda(sigma), of the shape of sigma (a number, array or Keras tensor), see `Weighting`.

    >>> round(float(loss_weight(0.5, 0.5, Weighting.EDM)), 6)
    8.0
    """
    if isinstance(sigma, int | float | np.ndarray | np.generic):
        sigma = _checked(sigma)
    if weighting is Weighting.EDM:
        return (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    if weighting is Weighting.MIN_SNR:
        snr = sigma_data**2 / sigma**2
        return np.minimum(snr, MIN_SNR_GAMMA) if isinstance(snr, np.ndarray) else ops.minimum(snr, MIN_SNR_GAMMA)
    return sigma * 0 + 1


def draw_sigmas(generator: np.random.Generator, n: int, p_mean: float, p_std: float) -> np.ndarray:
    """Draws n noise levels with ln sigma ~ N(p_mean, p_std^2). Returns float32[n].

    One level falls into each of n equally probable slices, in random order: each level alone follows the law exactly,
    and the loss of a batch varies less than with independent levels.
    """
    quantiles = (generator.permutation(n) + generator.uniform(1e-6, 1 - 1e-6, n)) / n
    return np.exp(p_mean + p_std * ndtri(quantiles)).astype(np.float32)


def denoise(network: Any, z: Any, sigma: Any, labels: Any, attributes: Any, sigma_data: float, training: bool) -> Any:
    """D(z; sigma, c), the estimate of the clean image, in float32.

    Args:
      network: F, as `tfpdu.diffusion.network.build_network` makes it.
      z: float32[b, h, w, c]; sigma: float32[b]; labels: int32[b]; attributes: int32[b, j]; -1 is unknown.
      sigma_data: see `preconditioning`.
      training: passed to the network.

    Returns:
      float32[b, h, w, c].
    """
    z, sigma, labels, attributes = (ops.convert_to_tensor(tensor) for tensor in (z, sigma, labels, attributes))
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, sigma_data)
    image = (-1, 1, 1, 1)
    features = [ops.reshape(c_in, image) * z, c_noise, labels, attributes]
    raw = ops.cast(network(features, training=training), "float32")  # (b, h, w, c)
    return ops.reshape(c_skip, image) * z + ops.reshape(c_out, image) * raw


def denoising_loss(
    network: Any,
    clean: Any,
    noise: Any,
    sigma: Any,
    labels: Any,
    attributes: Any,
    sigma_data: float,
    weighting: Weighting,
    training: bool = True,
) -> Any:
    """lambda(sigma) * |D(z0 + sigma * eta) - z0|^2, mean over pixels, one value per image: float32[b].

    `clean` is z0 in [-1, 1], float32[b, h, w, c]; `noise` is eta, standard normal, of the same shape; the other
    arguments are those of `denoise`.
    """
    z = clean + ops.reshape(sigma, (-1, 1, 1, 1)) * noise  # (b, h, w, c)
    error = denoise(network, z, sigma, labels, attributes, sigma_data, training) - clean
    return loss_weight(sigma, sigma_data, weighting) * ops.mean(ops.square(error), axis=(1, 2, 3))  # (b,)


def _checked(sigma: Any) -> np.ndarray:
    values = np.asarray(sigma, np.float64)
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        raise UserError(f"sigma: expected noise levels above 0, got {values[wrong].ravel()[0]}")
    return values
