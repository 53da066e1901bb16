"""Data bias: how far a table is from what it should be, and what would mend it."""

from tfpdu.bias.additions import least_additions
from tfpdu.bias.divergence import kl_divergence, smoothed, total_bias
from tfpdu.bias.priors import Constraint, Prior, given_prior, reference_prior, uniform_prior
from tfpdu.bias.report import bias_report

__all__ = [
    "Constraint",
    "Prior",
    "bias_report",
    "given_prior",
    "kl_divergence",
    "least_additions",
    "reference_prior",
    "smoothed",
    "total_bias",
    "uniform_prior",
]
