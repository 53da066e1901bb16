"""Membership inference with honest statistics, and group fairness."""

from typing import TYPE_CHECKING

from tfpdu.audit.accuracy import Accuracy, accuracy
from tfpdu.audit.attacks import ATTACKS, BASELINES, Attack, ByClass, new_attack, own_attack
from tfpdu.audit.auc import Auc, auc
from tfpdu.audit.deletion_test import (
    AnswerGap,
    DeletionRule,
    compare_answers,
    deletion_errors,
    deletion_rule,
    deletion_verdict,
)
from tfpdu.audit.extras import Extras
from tfpdu.audit.fairness import accuracy_by_group, fairness_rows, group_metrics, of_groups
from tfpdu.audit.likelihood_ratio import (
    deviation_of_all,
    lira_scores,
    logit_statistic,
    rmia_scores,
    statistic_of_confidence,
)
from tfpdu.audit.losses import cross_entropy, cross_entropy_from_logits, entropy, modified_entropy, root_moments
from tfpdu.audit.membership import AuditSettings, attack_populations, audit_members, audit_rows, audited_rows
from tfpdu.audit.one_run import (
    Guesses,
    OneRunAudit,
    coin_flips,
    fix_guesses,
    one_run_audit,
    one_run_epsilon,
    one_run_p_value,
)
from tfpdu.audit.protocols import PROTOCOLS
from tfpdu.audit.references import collect_references, pseudo_shards, references_from_shards, shard_references
from tfpdu.audit.risk import PrivacyRisk, by_subject
from tfpdu.audit.signals import EXTRAS, Predict, References, Signals, collect_signals
from tfpdu.audit.significance import auc_p_value, holm, permutation_p_value, success_p_value
from tfpdu.audit.slices import paired_slices, slice_masks
from tfpdu.audit.spread import Spread, over_seeds, spread
from tfpdu.audit.statistics import SuccessRate, balanced_interval, best_threshold, roc_curve, success_rate, tpr_at_fpr
from tfpdu.audit.triple import Triple, forget_retain_test
from tfpdu.common.intervals import clopper_pearson, hanley_mcneil_se
from tfpdu.common.on_demand import on_demand

if TYPE_CHECKING:
    from tfpdu.audit.callback import MembershipAudit
    from tfpdu.audit.layer_spread import LayerSpread, layer_spread_gap, layer_spread_gaps
    from tfpdu.audit.perturbation import perturbed_images
    from tfpdu.audit.robustness import (
        ROBUSTNESS_ATTACKS,
        Robustness,
        RobustnessAttack,
        gradient_masking,
        robust_accuracy,
    )

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "callback": ["MembershipAudit"],
        "layer_spread": ["LayerSpread", "layer_spread_gap", "layer_spread_gaps"],
        "perturbation": ["perturbed_images"],
        "robustness": [
            "ROBUSTNESS_ATTACKS",
            "Robustness",
            "RobustnessAttack",
            "gradient_masking",
            "robust_accuracy",
        ],
    },
)

__all__ = [
    "ATTACKS",
    "BASELINES",
    "EXTRAS",
    "PROTOCOLS",
    "ROBUSTNESS_ATTACKS",
    "Accuracy",
    "AnswerGap",
    "Attack",
    "Auc",
    "AuditSettings",
    "ByClass",
    "DeletionRule",
    "Extras",
    "Guesses",
    "LayerSpread",
    "MembershipAudit",
    "OneRunAudit",
    "Predict",
    "PrivacyRisk",
    "References",
    "Robustness",
    "RobustnessAttack",
    "Signals",
    "Spread",
    "SuccessRate",
    "Triple",
    "accuracy",
    "accuracy_by_group",
    "attack_populations",
    "auc",
    "auc_p_value",
    "audit_members",
    "audit_rows",
    "audited_rows",
    "balanced_interval",
    "best_threshold",
    "by_subject",
    "clopper_pearson",
    "coin_flips",
    "collect_references",
    "collect_signals",
    "compare_answers",
    "cross_entropy",
    "cross_entropy_from_logits",
    "deletion_errors",
    "deletion_rule",
    "deletion_verdict",
    "deviation_of_all",
    "entropy",
    "fairness_rows",
    "fix_guesses",
    "forget_retain_test",
    "gradient_masking",
    "group_metrics",
    "hanley_mcneil_se",
    "holm",
    "layer_spread_gap",
    "layer_spread_gaps",
    "lira_scores",
    "logit_statistic",
    "modified_entropy",
    "new_attack",
    "of_groups",
    "one_run_audit",
    "one_run_epsilon",
    "one_run_p_value",
    "over_seeds",
    "own_attack",
    "paired_slices",
    "permutation_p_value",
    "perturbed_images",
    "pseudo_shards",
    "references_from_shards",
    "rmia_scores",
    "robust_accuracy",
    "roc_curve",
    "root_moments",
    "shard_references",
    "slice_masks",
    "spread",
    "statistic_of_confidence",
    "success_p_value",
    "success_rate",
    "tpr_at_fpr",
]
