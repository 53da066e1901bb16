"""An ensemble of ResNet18s, each trained on its own shard of the rows."""

from tfpdu.ensemble.aggregate import Ensemble, Evaluator, aggregate
from tfpdu.ensemble.backbones import BACKBONES, build_backbone
from tfpdu.ensemble.initial import initialise
from tfpdu.ensemble.normalization import BatchNormalization
from tfpdu.ensemble.resnet import build_resnet18
from tfpdu.ensemble.resnet50 import build_resnet50
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.shards import assign_new, assign_shards
from tfpdu.ensemble.transfer import read_initial
from tfpdu.ensemble.vit import build_small_vit

__all__ = [
    "BACKBONES",
    "BatchNormalization",
    "Ensemble",
    "EnsembleSettings",
    "Evaluator",
    "aggregate",
    "assign_new",
    "assign_shards",
    "build_backbone",
    "build_resnet18",
    "build_resnet50",
    "build_small_vit",
    "initialise",
    "read_initial",
]
