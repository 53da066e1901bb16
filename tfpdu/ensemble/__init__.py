"""An ensemble of ResNet18s, each trained on its own shard of the rows."""

from typing import TYPE_CHECKING

from tfpdu.common.on_demand import on_demand
from tfpdu.ensemble.settings import EnsembleSettings
from tfpdu.ensemble.shards import assign_new, assign_shards

if TYPE_CHECKING:
    from tfpdu.ensemble.aggregate import Ensemble, Evaluator
    from tfpdu.ensemble.backbones import BACKBONES, build_backbone
    from tfpdu.ensemble.initial import initialise
    from tfpdu.ensemble.normalization import BatchNormalization
    from tfpdu.ensemble.resnet import build_resnet18
    from tfpdu.ensemble.resnet50 import build_resnet50
    from tfpdu.ensemble.transfer import read_initial
    from tfpdu.ensemble.vit import build_small_vit

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "aggregate": ["Ensemble", "Evaluator"],
        "backbones": ["BACKBONES", "build_backbone"],
        "initial": ["initialise"],
        "normalization": ["BatchNormalization"],
        "resnet": ["build_resnet18"],
        "resnet50": ["build_resnet50"],
        "transfer": ["read_initial"],
        "vit": ["build_small_vit"],
    },
)

__all__ = [
    "BACKBONES",
    "BatchNormalization",
    "Ensemble",
    "EnsembleSettings",
    "Evaluator",
    "assign_new",
    "assign_shards",
    "build_backbone",
    "build_resnet18",
    "build_resnet50",
    "build_small_vit",
    "initialise",
    "read_initial",
]
