"""Unlearning: models that are as if some rows had never been seen."""

from tfpdu.unlearning.capacity import (
    MeasuredCapacity,
    capacity_table,
    deletion_capacity,
    excess_risk_bound,
    largest_request,
    measured_capacity,
    newton_rate,
    private_rate,
    theorem_guard,
)
from tfpdu.unlearning.certified import Certificate, CertifiedHead, fit_head, load_head
from tfpdu.unlearning.exact import Learned, ShardedLearner
from tfpdu.unlearning.head import HeadRelease, HeadSettings
from tfpdu.unlearning.noise import gaussian_delta, gaussian_epsilon, gaussian_sigma, newton_noise

__all__ = [
    "Certificate",
    "CertifiedHead",
    "HeadRelease",
    "HeadSettings",
    "Learned",
    "MeasuredCapacity",
    "ShardedLearner",
    "capacity_table",
    "deletion_capacity",
    "excess_risk_bound",
    "fit_head",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_sigma",
    "largest_request",
    "load_head",
    "measured_capacity",
    "newton_noise",
    "newton_rate",
    "private_rate",
    "theorem_guard",
]
