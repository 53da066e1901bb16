"""The generator of synthetic images: a diffusion model conditioned on class and attributes, in Keras alone."""

from typing import TYPE_CHECKING

from tfpdu.common.on_demand import on_demand
from tfpdu.diffusion.architecture import Architecture
from tfpdu.diffusion.private import Privacy, PrivateSettings, epsilon_spent, noise_multiplier, privacy_statement
from tfpdu.diffusion.sampler import Sampler, integrate, keyed_noise, sigma_schedule
from tfpdu.diffusion.settings import GeneratorSettings, NoisyClassifierSettings, Weighting

if TYPE_CHECKING:
    from tfpdu.diffusion.canaries import Canaries, Reproduced, make_canaries, reproduced
    from tfpdu.diffusion.critics import refuse_impossible_critics
    from tfpdu.diffusion.features import PIXELS, Extractor, extractor_of
    from tfpdu.diffusion.fidelity import Fidelity, density_coverage, kernel_distance, measure_fidelity, precision_recall
    from tfpdu.diffusion.generator import Generator, fit_generator, load_generator
    from tfpdu.diffusion.guidance import guided
    from tfpdu.diffusion.membership import GeneratorMembership, denoising_losses, generator_membership
    from tfpdu.diffusion.memorization import (
        Copies,
        CopyGuard,
        NeighbourShare,
        copy_ratio,
        is_copy,
        neighbour_share,
        without_copies,
    )
    from tfpdu.diffusion.memory import measure_memory, measure_traces
    from tfpdu.diffusion.neighbours import Neighbours, nearest_distances
    from tfpdu.diffusion.network import build_network
    from tfpdu.diffusion.noisy_classifier import NoisyClassifier, fit_noisy_classifier, load_noisy_classifier
    from tfpdu.diffusion.preconditioning import denoise, denoising_loss, loss_weight
    from tfpdu.diffusion.pretrained import load_pretrained, note_metrics, pretrained_rows
    from tfpdu.diffusion.quality import (
        classification_accuracy_score,
        measure_quality,
        realised_attributes,
        require_quality,
        synthetic_twin,
    )
    from tfpdu.diffusion.steering import Steering, steer

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "canaries": ["Canaries", "Reproduced", "make_canaries", "reproduced"],
        "critics": ["refuse_impossible_critics"],
        "features": ["PIXELS", "Extractor", "extractor_of"],
        "fidelity": ["Fidelity", "density_coverage", "kernel_distance", "measure_fidelity", "precision_recall"],
        "generator": ["Generator", "fit_generator", "load_generator"],
        "guidance": ["guided"],
        "membership": ["GeneratorMembership", "denoising_losses", "generator_membership"],
        "memorization": [
            "Copies",
            "CopyGuard",
            "NeighbourShare",
            "copy_ratio",
            "is_copy",
            "neighbour_share",
            "without_copies",
        ],
        "memory": ["measure_memory", "measure_traces"],
        "neighbours": ["Neighbours", "nearest_distances"],
        "network": ["build_network"],
        "noisy_classifier": ["NoisyClassifier", "fit_noisy_classifier", "load_noisy_classifier"],
        "preconditioning": ["denoise", "denoising_loss", "loss_weight"],
        "pretrained": ["load_pretrained", "note_metrics", "pretrained_rows"],
        "quality": [
            "classification_accuracy_score",
            "measure_quality",
            "realised_attributes",
            "require_quality",
            "synthetic_twin",
        ],
        "steering": ["Steering", "steer"],
    },
)

__all__ = [
    "PIXELS",
    "Architecture",
    "Canaries",
    "Copies",
    "CopyGuard",
    "Extractor",
    "Fidelity",
    "Generator",
    "GeneratorMembership",
    "GeneratorSettings",
    "NeighbourShare",
    "Neighbours",
    "NoisyClassifier",
    "NoisyClassifierSettings",
    "Privacy",
    "PrivateSettings",
    "Reproduced",
    "Sampler",
    "Steering",
    "Weighting",
    "build_network",
    "classification_accuracy_score",
    "copy_ratio",
    "denoise",
    "denoising_loss",
    "denoising_losses",
    "density_coverage",
    "epsilon_spent",
    "extractor_of",
    "fit_generator",
    "fit_noisy_classifier",
    "generator_membership",
    "guided",
    "integrate",
    "is_copy",
    "kernel_distance",
    "keyed_noise",
    "load_generator",
    "load_noisy_classifier",
    "load_pretrained",
    "loss_weight",
    "make_canaries",
    "measure_fidelity",
    "measure_memory",
    "measure_quality",
    "measure_traces",
    "nearest_distances",
    "neighbour_share",
    "noise_multiplier",
    "note_metrics",
    "precision_recall",
    "pretrained_rows",
    "privacy_statement",
    "realised_attributes",
    "refuse_impossible_critics",
    "reproduced",
    "require_quality",
    "sigma_schedule",
    "steer",
    "synthetic_twin",
    "without_copies",
]
