"""Approximate unlearning, one method a file. None of these gives a guarantee; `tfpdu.unlearning.exact` does."""

from tfpdu.common.validation import one_of
from tfpdu.unlearning.methods.adversaries import Adversaries, AttackSettings, build_adversaries
from tfpdu.unlearning.methods.amun import AMUN
from tfpdu.unlearning.methods.base import Examples, Method, NoSettings, concatenate, own
from tfpdu.unlearning.methods.boundary_shrink import BOUNDARY_SHRINK
from tfpdu.unlearning.methods.cf_k import CF_K
from tfpdu.unlearning.methods.descent import DescentSettings
from tfpdu.unlearning.methods.eu_k import EU_K
from tfpdu.unlearning.methods.fine_tune import FINE_TUNE
from tfpdu.unlearning.methods.fine_tune_anchored import FINE_TUNE_ANCHORED
from tfpdu.unlearning.methods.gradient_ascent import GRADIENT_ASCENT
from tfpdu.unlearning.methods.influence import INFLUENCE
from tfpdu.unlearning.methods.l1_sparse import L1_SPARSE
from tfpdu.unlearning.methods.network import clone
from tfpdu.unlearning.methods.random_labels import RANDOM_LABELS
from tfpdu.unlearning.methods.retrain import RETRAIN
from tfpdu.unlearning.methods.salun import SALUN
from tfpdu.unlearning.methods.scrub import SCRUB
from tfpdu.unlearning.methods.stackelberg import STACKELBERG
from tfpdu.unlearning.methods.woodfisher import WOODFISHER
from tfpdu.unlearning.methods.zero_shot import ZERO_SHOT

_ALL = (
    RETRAIN,
    FINE_TUNE,
    FINE_TUNE_ANCHORED,
    GRADIENT_ASCENT,
    RANDOM_LABELS,
    BOUNDARY_SHRINK,
    L1_SPARSE,
    SALUN,
    SCRUB,
    EU_K,
    CF_K,
    AMUN,
    INFLUENCE,
    WOODFISHER,
    STACKELBERG,
    ZERO_SHOT,
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def find(name: str) -> Method:
    """A method by its name in `METHODS`, or one's own by "package.module:name", see `own`.

    Raises:
      UserError: there is none of that name.
    """
    if ":" in name:
        return own(name)
    one_of(METHODS, method=name)
    return METHODS[name]


__all__ = [
    "METHODS",
    "Adversaries",
    "AttackSettings",
    "DescentSettings",
    "Examples",
    "Method",
    "NoSettings",
    "build_adversaries",
    "clone",
    "concatenate",
    "find",
    "own",
]
