"""An ensemble of ResNet18s, each trained on its own shard of the rows."""

from tfpdu.ensemble.aggregate import Ensemble, Evaluator, aggregate
from tfpdu.ensemble.initial import read_initial
from tfpdu.ensemble.normalization import BatchNormalization
from tfpdu.ensemble.resnet import build_resnet18, initialise
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.shards import assign_new, assign_shards

__all__ = [
    "BatchNormalization",
    "Ensemble",
    "EnsembleSettings",
    "Evaluator",
    "aggregate",
    "assign_new",
    "assign_shards",
    "build_resnet18",
    "initialise",
    "read_initial",
]
