"""Unlearning: models that are as if some rows had never been seen, and the ledger of what was asked to be forgotten."""

from typing import TYPE_CHECKING

from tfpdu.common.on_demand import on_demand
from tfpdu.unlearning.capacity import (
    MeasuredCapacity,
    capacity_table,
    deletion_capacity,
    excess_risk_bound,
    largest_request,
    measured_capacity,
    network_capacity,
    newton_rate,
    private_rate,
    theorem_guard,
)
from tfpdu.unlearning.certified import Certificate, CertifiedHead, fit_head, load_head
from tfpdu.unlearning.cost import batch_cost, retraining_cost, sequential_cost, sisa_stages, slicing_cost
from tfpdu.unlearning.head import HeadRelease, HeadSettings
from tfpdu.unlearning.ledger import Ledger
from tfpdu.unlearning.noise import gaussian_delta, gaussian_epsilon, gaussian_sigma, newton_noise
from tfpdu.unlearning.selection import Selector, select
from tfpdu.unlearning.tombstones import Tombstones
from tfpdu.unlearning.twins import near_duplicates

if TYPE_CHECKING:
    from tfpdu.unlearning.exact import Learned, ShardedLearner
    from tfpdu.unlearning.methods import METHODS

__getattr__, __dir__ = on_demand(__name__, {"exact": ["Learned", "ShardedLearner"], "methods": ["METHODS"]})

__all__ = [
    "METHODS",
    "Certificate",
    "CertifiedHead",
    "HeadRelease",
    "HeadSettings",
    "Learned",
    "Ledger",
    "MeasuredCapacity",
    "Selector",
    "ShardedLearner",
    "Tombstones",
    "batch_cost",
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
    "near_duplicates",
    "network_capacity",
    "newton_noise",
    "newton_rate",
    "private_rate",
    "retraining_cost",
    "select",
    "sequential_cost",
    "sisa_stages",
    "slicing_cost",
    "theorem_guard",
]
