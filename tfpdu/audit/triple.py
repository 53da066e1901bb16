"""Forget, retain, test: three AUCs that say together what a deletion has left behind.

Reference:
  [1] Ebrahimpour-Boroojeny, Sundaram, Chandrasekaran. AMUN: Adversarial machine unlearning. ICML 2025 (the measures
      FT, FR and RT).
"""

import dataclasses
from typing import Any

from tfpdu.audit.auc import Auc, auc


@dataclasses.dataclass(frozen=True)
class Triple:
    """AUCs of one attack's scores on a model after a deletion.

    Attributes:
      ft: forgotten rows against test rows. 0.5: they look as if never seen; above, something is left; below, they look
        less familiar than strangers, which gives the deletion away.
      fr: retained rows against forgotten ones. For a model trained without the forgotten rows it equals `rt`.
      rt: retained rows against test rows: how much the model remembers at all.
    """

    ft: Auc
    fr: Auc
    rt: Auc

    @property
    def distance(self) -> float:
        """|FT - 1/2| + |FR - RT|: 0 for a deletion that leaves no trace; set it beside an exactly retrained model's."""
        return abs(self.ft.value - 0.5) + abs(self.fr.value - self.rt.value)


def forget_retain_test(forget: Any, retain: Any, test: Any, confidence: float = 0.95) -> Triple:
    """The triple of one attack's scores, higher = member; sizes may differ, an AUC does not mind.

    Args:
      forget: float[f], rows that were deleted.
      retain: float[r], rows that the model was trained on.
      test: float[t], rows that no model saw.
      confidence: of the AUCs' intervals.
    """
    return Triple(auc(forget, test, confidence), auc(retain, forget, confidence), auc(retain, test, confidence))
