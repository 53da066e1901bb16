"""What every membership-inference attack is."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from tfpdu.audit.signals import Signals
from tfpdu.common.errors import UserError


@runtime_checkable
class Attack(Protocol):
    """Scores rows by how likely the audited model was trained on them.

    An attack is made without required arguments, fitted once on calibration rows and then scores others. It sees
    signals only, never the model or the images. `tfpdu.testing.check_attack` is what it has to pass.

    One that needs more than the model's answers names it in a class attribute `requires`, a tuple of names in
    `tfpdu.audit.EXTRAS`; without that attribute it needs nothing else. One that cannot do without answers on views
    (`losses`, where N may be 0 for bare answers) says so by a class attribute `uses_views = True`.
    """

    @property
    def name(self) -> str:
        """The name in reports and in `audit.json`."""

    def fit(self, members: Signals, nonmembers: Signals, seed: int) -> None:
        """Learns from calibration rows of known membership; the same rows in any order and seed give the same fit."""

    def score(self, signals: Signals) -> np.ndarray:
        """float64[n], finite; higher means member. Row i depends on row i alone."""


def required(attack: Any) -> tuple[str, ...]:
    """The extra answers that an attack, or its class, needs."""
    return tuple(getattr(attack, "requires", ()))


def uses_views(attack: Any) -> bool:
    """Whether an attack, or its class, cannot do without answers on views."""
    return bool(getattr(attack, "uses_views", False))


def check_extras(attack: Any, *sides: Signals) -> None:
    """Raises `UserError` unless every side has the extra answers that the attack needs."""
    for extra in required(attack):
        if any(getattr(side, extra) is None for side in sides):
            raise UserError(f"{attack.name}: the signals have no {extra}, which this attack needs; {_WHENCE[extra]}")


_WHENCE = {
    "references": "see tfpdu.audit.shard_references and collect_references",
    "adversarial": "see tfpdu.audit.perturbed_images",
    "earlier": "give the earlier version's probabilities [n, C]",
}
