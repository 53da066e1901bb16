"""Critics choose among candidates: samples that do not show what was asked for are drawn again.

A small generator that has seen few images gets many samples right and some wrong, and a classifier that learns from
them learns the wrong ones, too. So up to n candidates are drawn for a key: the first in which every critic finds the
value that was asked for the likeliest is kept, and where there is none, the likeliest of all. Candidate 0 is the sample
without critics, so what they change is what they refuse.

A critic learns the generator's own training rows, no others: samples have the lineage that they had. With rows that may
have to be forgotten it lives and dies with the generator, in whose directory it is kept.

References: Azadi et al. (2019), "Discriminator rejection sampling"; He et al. (2023), "Is synthetic data from
generative models ready for image recognition?", section 3 (samples filtered by a classifier).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tfpdu.data.records import UNKNOWN, Records
from tfpdu.diffusion.noisy_classifier import (
    NoisyClassifier,
    NoisyClassifierSettings,
    fit_noisy_classifier,
    learnable,
    load_noisy_classifier,
)
from tfpdu.diffusion.settings import GeneratorSettings

DIRECTORY = "critics"  # below the generator's
SIGMA = 0.05  # the noise level at which finished samples are read: below what can be seen
BLOCK = 1024  # images that are in memory as floats at once
P_MEAN, P_STD = -2.5, 1.0  # of ln sigma in training: around SIGMA; the noise stands in for further rows


class Critics:
    """Says whether images show what was asked for.

    Args:
      classifiers: one for each condition that is looked at.
      names: of all conditions in their order, "label" first.
    """

    def __init__(self, classifiers: Sequence[NoisyClassifier], names: Sequence[str]):
        self.classifiers = tuple(classifiers)
        self._columns = [list(names).index(critic.spec.name) for critic in self.classifiers]

    def judge(self, images: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which images show it, and how likely it is in each.

        Args:
          images: uint8[m, h, w, c].
          asked: int[m, conditions]; -1 where any value will do.

        Returns:
          bool[m]: every critic finds the value asked for the likeliest; and float64[m], the sum of its ln p over the
          critics.
        """
        shown, likelihood = np.ones(len(images), bool), np.zeros(len(images))
        for critic, column in zip(self.classifiers, self._columns, strict=True):
            parts = (images[start : start + BLOCK] / 127.5 - 1 for start in range(0, len(images), BLOCK))
            logs = np.concatenate([critic.log_probabilities(part, SIGMA) for part in parts])  # (m, values)
            codes = asked[:, column]
            wanted = codes != UNKNOWN
            own = logs[np.arange(len(images)), codes]
            shown &= ~wanted | (own == logs.max(axis=1))
            likelihood += np.where(wanted, own, 0.0)
        return shown, likelihood


def best_of(
    draw: Callable[[np.ndarray, Sequence[str]], np.ndarray],
    asked: np.ndarray,
    keys: Sequence[str],
    critics: Critics,
    candidates: int,
) -> tuple[np.ndarray, int, int]:
    """Draws until the critics see what was asked for, see the module. Image i depends on asked[i] and keys[i] alone.

    Args:
      draw: (rows, keys) -> uint8[r, h, w, c], images of these rows of `asked`; image i depends on key i alone.
      asked: int[m, conditions], see `Critics.judge`.
      keys: m strings; candidate j from 1 on has the key "<key>/candidate<j>".
      critics: see there.
      candidates: the most that are drawn for a key.

    Returns:
      uint8[m, h, w, c]; the number of candidates drawn in all; and of images kept although a critic sees another value.
    """
    images = draw(np.arange(len(keys)), keys)
    shown, likelihood = critics.judge(images, asked)
    drawn = len(keys)
    for candidate in range(1, candidates):
        waiting = np.flatnonzero(~shown)
        if not waiting.size:
            break
        others = draw(waiting, [f"{keys[i]}/candidate{candidate}" for i in waiting])
        drawn += len(waiting)
        found, likely = critics.judge(others, asked[waiting])
        better = found | (likely > likelihood[waiting])
        images[waiting[better]] = others[better]
        likelihood[waiting[better]] = likely[better]
        shown[waiting] = found
    return images, drawn, int((~shown).sum())


def fit_critics(
    records: Records, settings: GeneratorSettings, directory: Path, seed: int
) -> tuple[NoisyClassifier, ...]:
    """Trains the critics that `settings.critics` names on a generator's rows, resumes them, or finds them.

    Raises:
      UserError: as `fit_noisy_classifier`.
      StopRequested: a signal arrived; calling again goes on from there.
    """
    where, how = Path(directory, DIRECTORY), _how(records, settings)
    return tuple(fit_noisy_classifier(records, name, how, where / name, seed) for name in settings.critics)


def refuse_impossible_critics(records: Records, settings: GeneratorSettings) -> None:
    """Raises `UserError` where a critic of these rows cannot be trained: before the generator is, not after."""
    for name in settings.critics:
        learnable(records, name, _how(records, settings))


def _how(records: Records, settings: GeneratorSettings) -> NoisyClassifierSettings:
    shared = ("batch", "fold", "precision", "sigma_data", "flip", "sample_batch")
    return NoisyClassifierSettings(
        images=settings.critic_images,
        checkpoint_images=settings.checkpoint_images,
        widths=settings.critic_widths,
        shift=records.images.shape[1] // 8,
        p_mean=P_MEAN,
        p_std=P_STD,
        **{name: getattr(settings, name) for name in shared},
    )


def load_critics(directory: Path, names: Sequence[str]) -> tuple[NoisyClassifier, ...]:
    """Those beside a finished generator; raises `UserError` where one is missing or damaged."""
    return tuple(load_noisy_classifier(Path(directory, DIRECTORY, name)) for name in names)
