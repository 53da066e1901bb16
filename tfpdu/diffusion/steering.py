"""Gradient guidance: steering a trained denoiser to attributes that it was not trained on.

A classifier that has learned from noisy images says how probable a value a of an attribute is, p(a | z; sigma). By
Bayes' rule the score of p(z | a) is that of p(z) plus grad_z log p(a | z; sigma), and scores and denoisers are tied by
score = (D - z) / sigma^2, so

    D~(z; sigma) = D(z; sigma) + s * sigma^2 * sum over attributes of grad_z log p(a | z; sigma).

Convention: **s = 0 is the denoiser itself** and s = 1 the one that Bayes' rule asks for; larger s asks for
p(z) p(a | z)^s, which exaggerates the value and lowers diversity. D may itself be guided by class and known attributes.
Marginals are set by which values are asked for, never by s.

The settings' s = 4 was chosen on digits, on auxiliary rows alone: a generator that knows no attribute, a classifier of
half of those rows, a judge of the other half. Of s = 0, 2, 3, 4, 5, 6 it is the largest at which samples asked for a
value are nowhere farther from real rows of that value, by kernel distance in pixels, than samples that are not steered.
The judge saw the value in 0.85 to 0.91 of them, against 0.43 to 0.57 unsteered; on real rows it recalls 0.81 to 0.96.
Classifiers of few rows are timid, and s makes up for that. Large s needs small steps: with 8 of them instead of 18,
samples miss the value again.

References: Dhariwal & Nichol (2021), "Diffusion models beat GANs on image synthesis", section 4; Ho & Salimans (2022),
"Classifier-free diffusion guidance", eq. 5; Song et al. (2021), "Score-based generative modeling", section 5.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tfpdu.common import UserError
from tfpdu.common.seeds import stable_hash
from tfpdu.common.validation import non_negative
from tfpdu.data.records import UNKNOWN, AttributeSpec
from tfpdu.diffusion.noisy_classifier import NoisyClassifier
from tfpdu.diffusion.sampler import Denoise

Gradient = Denoise  # (z [b, ...], sigma) -> grad_z log p(a | z; sigma) [b, ...]


def steer(denoise: Denoise, gradients: Sequence[Gradient], scale: float) -> Denoise:
    """D + s * sigma^2 * the sum of the gradients.

    Args:
      denoise: D(z, sigma).
      gradients: grad_z log p(a | z; sigma), one for each attribute, float64 of the shape of z.
      scale: s; at 0 the denoiser itself comes back.
    """
    if not gradients or scale == 0:
        return denoise

    def steered(z: np.ndarray, sigma: float) -> np.ndarray:
        return denoise(z, sigma) + scale * sigma**2 * sum(gradient(z, sigma) for gradient in gradients)

    return steered


@dataclasses.dataclass(frozen=True)
class Steering:
    """Noise-aware classifiers, each of one attribute, and the scale s that they share; raises on a scale below 0."""

    classifiers: tuple[NoisyClassifier, ...]
    scale: float

    def __post_init__(self) -> None:
        non_negative(steering=self.scale)

    @property
    def specs(self) -> tuple[AttributeSpec, ...]:
        """The attributes, in the order of the classifiers."""
        return tuple(classifier.spec for classifier in self.classifiers)

    def id_of(self, generator_id: str) -> str:
        """16 hex digits: the id of a generator that is steered so."""
        ids = [classifier.id for classifier in self.classifiers]
        return f"{stable_hash(generator_id, *ids, float(self.scale)):016x}"

    def check(self, shape: tuple[int, ...], known: Sequence[str]) -> None:
        """Raises `UserError` where a classifier does not fit a generator.

        Args:
          shape: (h, w, c) of the generator's images.
          known: what it was trained on: 'label' and attributes.
        """
        seen = list(known)
        for classifier in self.classifiers:
            name = classifier.spec.name
            if classifier.shape != tuple(shape):
                raise UserError(
                    f"steering: the classifier of {name!r} knows images of {list(classifier.shape)}, the generator "
                    f"makes {list(shape)}"
                )
            if name in known:
                raise UserError(
                    f"steering: the generator was trained on {name!r} itself; expected another attribute's classifier"
                )
            if name in seen:
                raise UserError(f"steering: two classifiers of {name!r}")
            seen.append(name)

    def applied(self, denoise: Denoise, sought: np.ndarray) -> Denoise:
        """The denoiser steered to these values, int32[b, attributes]; -1 steers nothing."""
        gradients = [
            _bound(classifier, codes)
            for classifier, codes in zip(self.classifiers, sought.T, strict=True)
            if np.any(codes != UNKNOWN)  # the gradient is exactly 0 elsewhere
        ]
        return steer(denoise, gradients, self.scale)


def _bound(classifier: NoisyClassifier, codes: np.ndarray) -> Gradient:
    return lambda z, sigma: classifier.gradient(z, sigma, codes)
