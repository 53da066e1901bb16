"""The methods that are compared, by name: each makes of S and the prior what is to be learned.

References:
  [1] Idrissi, Arjovsky, Pezeshki, Lopez-Paz. Simple data balancing achieves competitive worst-group-accuracy. 2022.
  [2] Sagawa, Koh, Hashimoto, Liang. Distributionally robust neural networks for group shifts. ICLR 2020.
"""

import dataclasses

import numpy as np

from tfpdu.augment import AugmentSettings, debias
from tfpdu.bias import Prior
from tfpdu.bias.priors import cells_of
from tfpdu.data import Records
from tfpdu.debiasing.batches import NO_GROUP
from tfpdu.debiasing.losses import GroupDRO
from tfpdu.debiasing.training import Lesson

NONE, REWEIGH, DIFFUSION = "none", "reweigh", "diffusion"
PLAIN = {
    NONE: "S as it is",
    "oversample": "copies of rows until S meets the prior",
    "undersample": "rows are dropped until S meets the prior",
    REWEIGH: "rows weigh in the loss what brings S to the prior (Kamiran and Calders 2012)",
    "balanced": "each step draws class x group cells evenly (Idrissi et al. 2022)",
    "group_dro": "as balanced, and the worst cells weigh most, by exponentiated gradients (Sagawa et al. 2020)",
}
METHODS = {**PLAIN, DIFFUSION: "rows of a generator are added until S meets the prior (Algorithm 1)"}


def plain_lesson(
    method: str, records: Records, prior: Prior, augment: AugmentSettings, seed: int, eta: float
) -> Lesson:
    """What a plain method gives to learn.

    Args:
      method: a name in `PLAIN`.
      records: S.
      prior: D, towards which rows are copied, dropped or weighed.
      augment: how close to the prior.
      seed: of what is copied and dropped.
      eta: of group DRO.

    Raises:
      UserError: these rows do not allow the method, such as dropping rows to meet several constraints.
    """
    if method in ("balanced", "group_dro"):
        groups = cells(records, prior)
        found = int(groups.max(initial=NO_GROUP)) + 1
        if method == "balanced":
            return Lesson(records, np.ones(len(records)), groups)
        return Lesson(records, groups, groups, GroupDRO(found, eta))
    settings = dataclasses.replace(augment, method=method, scope="global")
    changed = debias(records, prior, None, settings=settings, seed=seed)
    weights = np.ones(len(changed.records)) if changed.weights is None else changed.weights
    return Lesson(changed.records, weights)


def cells(records: Records, prior: Prior) -> np.ndarray:
    """The class x attributes cell of each row, int64[n], counted over the cells that have rows; -1 is none."""
    attributes = [name for name in prior.variables if name != "label"]
    codes = cells_of(records, ("label", *attributes))
    _, places = np.unique(codes[codes >= 0], return_inverse=True)
    groups = np.full(len(records), NO_GROUP, np.int64)
    groups[codes >= 0] = places
    return groups
