"""Unlearning: models that are as if some rows had never been seen."""

from tfpdu.unlearning.exact import Learned, ShardedLearner

__all__ = ["Learned", "ShardedLearner"]
