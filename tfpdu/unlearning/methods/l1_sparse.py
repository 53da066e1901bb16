"""Fine-tuning with an l1 penalty that fades: sparser models forget more easily.

Algorithm: cross-entropy on the retained rows + alpha_t * ||w||_1, alpha_t = alpha * (1 - t / (T - no_l1_epochs)) in
epoch t of T, and 0 in the last `no_l1_epochs`.

Pitfalls: alpha is a slope for every single weight, so rate * alpha * steps is how far each is pushed towards 0; weights
of a ResNet18 are about 0.01 to 0.1. The 0.2 that the authors' script falls back to wipes such a network out within an
epoch. AMUN's code compounds the schedule, which first grows almost tenfold.
"""

import dataclasses

import keras

from tfpdu.common import UserError
from tfpdu.common.validation import non_negative
from tfpdu.unlearning.methods.base import Examples, Method
from tfpdu.unlearning.methods.descent import DescentSettings, descend, learning


@dataclasses.dataclass(frozen=True)
class L1SparseSettings(DescentSettings):
    """As `DescentSettings`.

    Attributes:
      alpha: of the penalty in the first epoch. Ours, of the size for which a weight of 0.01 can survive.
      no_l1_epochs: epochs at the end without it, fewer than `epochs`.
    """

    alpha: float = 5e-4
    no_l1_epochs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative(alpha=self.alpha, no_l1_epochs=self.no_l1_epochs)
        if self.no_l1_epochs >= self.epochs:
            raise UserError(f"no_l1_epochs: expected fewer than epochs={self.epochs}, got {self.no_l1_epochs}")

    def strength(self, epoch: int) -> float:
        """alpha_t of an epoch, counted from 0."""
        return max(0.0, self.alpha * (1 - epoch / (self.epochs - self.no_l1_epochs)))


def _run(model: keras.Model, forget: Examples, retain: Examples, settings: L1SparseSettings, seed: int) -> keras.Model:
    whole = learning(model, retain)
    descend(model, lambda epoch: [whole], settings, seed, l1=settings.strength)
    return model


L1_SPARSE = Method(
    name="l1_sparse",
    citation="Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu. Model sparsity can simplify machine unlearning. NeurIPS 2023",
    needs_retain=True,
    settings=L1SparseSettings,
    run=_run,
)
