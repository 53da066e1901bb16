"""Unlearning: models that are as if some rows had never been seen, and the ledger of what was asked to be forgotten."""

from typing import TYPE_CHECKING, Any

from tfpdu.unlearning.ledger import Ledger
from tfpdu.unlearning.selection import Selector, select
from tfpdu.unlearning.tombstones import Tombstones
from tfpdu.unlearning.twins import near_duplicates

if TYPE_CHECKING:
    from tfpdu.unlearning.exact import Learned, ShardedLearner

__all__ = ["Learned", "Ledger", "Selector", "ShardedLearner", "Tombstones", "near_duplicates", "select"]


def __getattr__(name: str) -> Any:
    """Loads TensorFlow only for those who learn: a request is acknowledged, and the ledger read, without it."""
    if name in ("Learned", "ShardedLearner"):
        from tfpdu.unlearning import exact

        return getattr(exact, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
