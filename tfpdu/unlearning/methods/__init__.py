"""Approximate unlearning, one method a file. None of these gives a guarantee; `tfpdu.unlearning.exact` does."""

from tfpdu.common.validation import one_of
from tfpdu.unlearning.methods.base import Examples, Method, NoSettings, concatenate, own
from tfpdu.unlearning.methods.descent import DescentSettings
from tfpdu.unlearning.methods.fine_tune import FINE_TUNE
from tfpdu.unlearning.methods.network import clone

METHODS: dict[str, Method] = {method.name: method for method in (FINE_TUNE,)}


def find(name: str) -> Method:
    """A method by its name in `METHODS`, or one's own by "package.module:name", see `own`.

    Raises:
      UserError: there is none of that name.
    """
    if ":" in name:
        return own(name)
    one_of(METHODS, method=name)
    return METHODS[name]


__all__ = ["METHODS", "DescentSettings", "Examples", "Method", "NoSettings", "clone", "concatenate", "find"]
