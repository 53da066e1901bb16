"""Was a row among the generator's training rows? The attack on the generator itself.

A denoiser restores its training rows a little better than other rows. **Higher score = member**: the score of a row is
minus its denoising loss.

References:
  [1] Duan, Kong, Wang, Shi, Xu. Are diffusion models vulnerable to membership inference attacks? 2023.
  [2] Carlini et al. Extracting training data from diffusion models. 2023, section 5.2 (the loss at one noise level).
  [3] Hanley, McNeil. The meaning and use of the area under a ROC curve. 1982.
  [4] Newcombe. Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2. 2006.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from tfpdu.common import UserError
from tfpdu.common.intervals import auc_interval, hanley_mcneil_se
from tfpdu.common.validation import positive
from tfpdu.data.records import Records
from tfpdu.diffusion.generator import Generator
from tfpdu.diffusion.preconditioning import loss_weight
from tfpdu.diffusion.sampler import keyed_noise
from tfpdu.diffusion.settings import Weighting

SIGMAS = (0.1, 0.3, 1.0, 3.0)  # in units of images in [-1, 1]; memory shows in the middle


@dataclasses.dataclass(frozen=True)
class Area:
    """Area under the ROC curve: probability that a random member scores above a random non-member, ties one half.

    `se` is Hanley and McNeil's standard error [3]; `ci_low` and `ci_high` are the 95 % interval by the same error [4],
    which is no point at 0 and 1.
    """

    value: float
    se: float
    ci_low: float
    ci_high: float


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratorMembership:
    """What the denoising loss gives away.

    Attributes:
      sigmas: noise levels.
      by_sigma: AUC at each of them.
      mean: AUC of the mean score over all of them.
      members: float64[n1, len(sigmas)], scores, minus the losses.
      nonmembers: float64[n0, len(sigmas)].
    """

    sigmas: tuple[float, ...]
    by_sigma: tuple[Area, ...]
    mean: Area
    members: np.ndarray
    nonmembers: np.ndarray


def denoising_losses(generator: Generator, records: Records, sigmas: Sequence[float], seed: int) -> np.ndarray:
    """How badly the generator restores each row from noise.

    The loss at sigma is lambda(sigma) * mean over pixels of (D(x + sigma * eta; sigma, c) - x)^2, with x in [-1, 1] and
    the EDM weight lambda: about 1 for a network that knows nothing, at every sigma, so that a mean over levels is
    ruled by none. c is the row's class and attributes as the generator saw them.

    Args:
      generator: with networks of any precision.
      records: n rows of the generator's image shape.
      sigmas: noise levels above 0.
      seed: of the noise eta, which depends on (seed, sigma, row id) alone.

    Returns:
      float64[n, len(sigmas)]; row i depends on the generator, the row, sigmas and seed alone.

    Raises:
      UserError: no rows, no or impossible noise levels, or rows that the generator does not know.
      StopRequested: a signal arrived.
    """
    if not len(records) or not len(sigmas):
        raise UserError(f"denoising losses: {len(records)} rows and {len(sigmas)} noise levels, at least 1 of each")
    positive(**{f"sigmas[{s}]": sigma for s, sigma in enumerate(sigmas)})
    shape, sigma_data, size = records.images.shape[1:], generator.settings.sigma_data, generator.settings.sample_batch
    losses = np.empty((len(records), len(sigmas)))
    for start in range(0, len(records), size):
        part = records.take(np.arange(start, min(start + size, len(records))))
        clean = part.images[:] / 127.5 - 1  # [b, h, w, c]
        for s, sigma in enumerate(map(float, sigmas)):
            noise = keyed_noise([f"loss/{sigma!r}/{row_id}" for row_id in part.ids.tolist()], shape, seed)
            error = generator.denoise(clean + sigma * noise, sigma, part) - clean
            weight = loss_weight(sigma, sigma_data, Weighting.EDM)
            losses[start : start + size, s] = weight * np.square(error).mean(axis=(1, 2, 3))
    return losses


def generator_membership(
    generator: Generator, members: Records, nonmembers: Records, sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> GeneratorMembership:
    """Attacks the generator by its denoising loss, at each noise level and by the mean over all.

    Args:
      generator: the one under attack.
      members: rows it was trained on.
      nonmembers: rows of the same cells that it was not trained on; other cells would be told apart, not membership.
      sigmas, seed: see `denoising_losses`.

    Raises:
      UserError: as `denoising_losses`; or a row is on both sides, a member is no training row of the generator, or a
        non-member is one.
    """
    _check_sides(generator, members, nonmembers)
    return told_apart(generator, members, nonmembers, sigmas, seed)


def told_apart(
    generator: Generator, rows: Records, others: Records, sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> GeneratorMembership:
    """The same question of any rows, those that the generator should have forgotten among them: `rows` as members.

    Raises:
      UserError: as `denoising_losses`.
    """
    scores = [-denoising_losses(generator, side, sigmas, seed) for side in (rows, others)]
    by_sigma = tuple(_area(scores[0][:, s], scores[1][:, s]) for s in range(len(sigmas)))
    mean = _area(scores[0].mean(axis=1), scores[1].mean(axis=1))
    return GeneratorMembership(tuple(map(float, sigmas)), by_sigma, mean, *scores)


def _check_sides(generator: Generator, members: Records, nonmembers: Records) -> None:
    trained = np.array(generator.row_ids, dtype=str)
    strange = members.ids[~np.isin(members.ids, trained)]
    if len(strange):
        raise UserError(f"generator membership: {str(strange[0])!r} is no training row of the generator")
    known = nonmembers.ids[np.isin(nonmembers.ids, trained)]
    if len(known):
        raise UserError(f"generator membership: non-member {str(known[0])!r} is a training row of the generator")


def _area(members: np.ndarray, nonmembers: np.ndarray) -> Area:
    truth = np.repeat([1, 0], [len(members), len(nonmembers)])
    value = float(roc_auc_score(truth, np.concatenate([members, nonmembers])))
    sizes = len(members), len(nonmembers)
    return Area(value, hanley_mcneil_se(value, *sizes), *auc_interval(value, *sizes))
