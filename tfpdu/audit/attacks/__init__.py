"""Membership-inference attacks, one file each."""

from tfpdu.audit.attacks.base import Attack
from tfpdu.audit.attacks.m_loss import MLoss
from tfpdu.audit.attacks.m_mean import MMean
from tfpdu.audit.attacks.moments import Moments

ATTACKS: dict[str, type[Attack]] = {attack.name: attack for attack in (MLoss, MMean, Moments)}

__all__ = ["ATTACKS", "Attack", "MLoss", "MMean", "Moments"]
