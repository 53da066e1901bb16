"""Whether models whose layers spread the classes more unevenly stand attacks less well.

Reference: Tran and Woo (2025), "Fairness and robustness in machine unlearning", who conjecture that they do.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

from tfpdu.audit import ROBUSTNESS_ATTACKS
from tfpdu.reporting.benchmark import Entry

SPREADS = ("std", "variance")
LEAST = 5  # models; of fewer a rank correlation says nothing


@dataclasses.dataclass(frozen=True)
class Association:
    """Over the models of a scenario.

    Attributes:
      attack: a name in `ROBUSTNESS_ATTACKS`.
      spread: how the layer spread gap is taken, of `SPREADS`.
      rho: Spearman's, of the gap and the share of right answers that the attack turns; above 0 as conjectured.
      p_value: two-sided, as if the models were independent, which those that start from one model are not.
      models: how many.
    """

    attack: str
    spread: str
    rho: float
    p_value: float
    models: int


def associations(found: Sequence[Entry]) -> list[Association]:
    """The rank correlations of robustness on test rows and layer spread gap, for each attack and spread.

    The share of right answers that an attack turns, 1 - robust / clean accuracy, lets models that know less be compared
    with others. What is the same for all models is left out, as where an attack turns every answer.

    Args:
      found: entries of one scenario, the original and retrained models among them; means over seeds are taken.
    """
    made = []
    for attack in ROBUSTNESS_ATTACKS:
        for spread in SPREADS:
            keys = (f"layer_spread_{spread}", f"robust_{attack}_test", "clean_test")
            values = [[e.values[key].mean for key in keys] for e in found if all(key in e.values for key in keys)]
            points = np.array([[gap, 1 - left / clean] for gap, left, clean in values if clean > 0]).reshape(-1, 2)
            if len(points) >= LEAST and np.ptp(points, axis=0).min() > 0:
                rank = stats.spearmanr(points[:, 0], points[:, 1])
                made.append(Association(attack, spread, float(rank.statistic), float(rank.pvalue), len(points)))
    return made
