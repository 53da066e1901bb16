"""Data bias: how far a table is from what it should be, and what would mend it."""

from tfpdu.bias.additions import least_additions
from tfpdu.bias.divergence import kl_divergence, smoothed, total_bias
from tfpdu.bias.eda import CGA, MIMIC, UMDA
from tfpdu.bias.eda.prior import eda_prior, need_of_cells
from tfpdu.bias.priors import Constraint, Prior, given_prior, reference_prior, uniform_prior
from tfpdu.bias.report import as_lines, bias_report
from tfpdu.bias.resample import source_id, with_copies

__all__ = [
    "CGA",
    "MIMIC",
    "UMDA",
    "Constraint",
    "Prior",
    "as_lines",
    "bias_report",
    "eda_prior",
    "given_prior",
    "kl_divergence",
    "least_additions",
    "need_of_cells",
    "reference_prior",
    "smoothed",
    "source_id",
    "total_bias",
    "uniform_prior",
    "with_copies",
]
