"""Membership-inference attacks, one file each."""

from tfpdu.audit.attacks.adversarial import AdversarialConfidence
from tfpdu.audit.attacks.base import Attack, check_extras, required, uses_views
from tfpdu.audit.attacks.blind import Blind
from tfpdu.audit.attacks.by_class import ByClass
from tfpdu.audit.attacks.confidence import Confidence, ConfidenceByClass
from tfpdu.audit.attacks.correctness import Correctness
from tfpdu.audit.attacks.entropy import Entropy, EntropyByClass
from tfpdu.audit.attacks.lira import LiraOffline, LiraOfflineTwoSided, LiraOnline
from tfpdu.audit.attacks.m_loss import MLoss
from tfpdu.audit.attacks.m_mean import MMean
from tfpdu.audit.attacks.modified_entropy import ModifiedEntropy, ModifiedEntropyByClass
from tfpdu.audit.attacks.moments import Moments
from tfpdu.audit.attacks.own import own_attack
from tfpdu.audit.attacks.rmia import RmiaOffline, RmiaOnline
from tfpdu.audit.attacks.two_versions import TwoVersions
from tfpdu.common.errors import UserError
from tfpdu.common.validation import one_of

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        MLoss,
        MMean,
        Moments,
        Correctness,
        Confidence,
        ConfidenceByClass,
        Entropy,
        EntropyByClass,
        ModifiedEntropy,
        ModifiedEntropyByClass,
        AdversarialConfidence,
        LiraOnline,
        LiraOffline,
        LiraOfflineTwoSided,
        RmiaOnline,
        RmiaOffline,
        TwoVersions,
    )
}
BASELINES: dict[str, type[Attack]] = {Blind.name: Blind}  # to run beside attacks; they find nothing, as they should


def new_attack(name: str) -> Attack:
    """An unfitted attack or baseline by its name, or one's own by "package:function".

    Raises:
      UserError: it is unknown, or one's own cannot be had, is no attack or has the name of another one.
    """
    known = ATTACKS | BASELINES
    if ":" in name:
        attack = own_attack(name)
        if attack.name in known:
            raise UserError(f"{name}: its name is {attack.name!r}, which is taken; give it another")
        return attack
    one_of(known, attacks=name)
    return known[name]()


__all__ = [
    "ATTACKS",
    "BASELINES",
    "AdversarialConfidence",
    "Attack",
    "Blind",
    "ByClass",
    "Confidence",
    "ConfidenceByClass",
    "Correctness",
    "Entropy",
    "EntropyByClass",
    "LiraOffline",
    "LiraOfflineTwoSided",
    "LiraOnline",
    "MLoss",
    "MMean",
    "ModifiedEntropy",
    "ModifiedEntropyByClass",
    "Moments",
    "RmiaOffline",
    "RmiaOnline",
    "TwoVersions",
    "check_extras",
    "new_attack",
    "own_attack",
    "required",
    "uses_views",
]
