"""Membership inference with honest statistics, and group fairness."""

from tfpdu.audit.accuracy import Accuracy, accuracy
from tfpdu.audit.attacks import ATTACKS, Attack
from tfpdu.audit.auc import Auc, auc
from tfpdu.audit.fairness import accuracy_by_group, fairness_rows, group_metrics, of_groups
from tfpdu.audit.likelihood_ratio import lira_scores, logit_statistic, rmia_scores
from tfpdu.audit.losses import cross_entropy, cross_entropy_from_logits, entropy, modified_entropy, root_moments
from tfpdu.audit.membership import AuditSettings, audit_members
from tfpdu.audit.one_run import one_run_epsilon, one_run_p_value
from tfpdu.audit.protocols import PROTOCOLS
from tfpdu.audit.signals import Predict, Signals, collect_signals
from tfpdu.audit.statistics import (
    SuccessRate,
    balanced_interval,
    best_threshold,
    success_rate,
    tpr_at_fpr,
)
from tfpdu.common.intervals import clopper_pearson, hanley_mcneil_se

__all__ = [
    "ATTACKS",
    "PROTOCOLS",
    "Accuracy",
    "Attack",
    "Auc",
    "AuditSettings",
    "Predict",
    "Signals",
    "SuccessRate",
    "accuracy",
    "accuracy_by_group",
    "auc",
    "audit_members",
    "balanced_interval",
    "best_threshold",
    "clopper_pearson",
    "collect_signals",
    "cross_entropy",
    "cross_entropy_from_logits",
    "entropy",
    "fairness_rows",
    "group_metrics",
    "hanley_mcneil_se",
    "lira_scores",
    "logit_statistic",
    "modified_entropy",
    "of_groups",
    "one_run_epsilon",
    "one_run_p_value",
    "rmia_scores",
    "root_moments",
    "success_rate",
    "tpr_at_fpr",
]
