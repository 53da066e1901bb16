"""The generator of synthetic images: a diffusion model conditioned on class and attributes, in Keras alone."""

from tfpdu.diffusion.generator import Generator, fit_generator, load_generator
from tfpdu.diffusion.guidance import guided
from tfpdu.diffusion.network import Architecture, build_network
from tfpdu.diffusion.preconditioning import Weighting, denoise, denoising_loss, loss_weight, preconditioning
from tfpdu.diffusion.private import Privacy, PrivateSettings, epsilon_spent, noise_multiplier, privacy_statement
from tfpdu.diffusion.quality import (
    classification_accuracy_score,
    measure_quality,
    quality_gate,
    realised_attributes,
    require_quality,
)
from tfpdu.diffusion.sampler import Sampler, integrate, keyed_noise, sigma_schedule
from tfpdu.diffusion.settings import GeneratorSettings

__all__ = [
    "Architecture",
    "Generator",
    "GeneratorSettings",
    "Privacy",
    "PrivateSettings",
    "Sampler",
    "Weighting",
    "build_network",
    "classification_accuracy_score",
    "denoise",
    "denoising_loss",
    "epsilon_spent",
    "fit_generator",
    "guided",
    "integrate",
    "keyed_noise",
    "load_generator",
    "loss_weight",
    "measure_quality",
    "noise_multiplier",
    "preconditioning",
    "privacy_statement",
    "quality_gate",
    "realised_attributes",
    "require_quality",
    "sigma_schedule",
]
