"""Image data as Records: the catalog, attributes, pools and draws, views."""

from tfpdu.data import views
from tfpdu.data.attributes import joint, with_joint
from tfpdu.data.catalog import SOURCES, load
from tfpdu.data.draws import DrawSettings, draw
from tfpdu.data.pools import Pools, PoolSizes, cut_pools
from tfpdu.data.records import UNKNOWN, AttributeSpec, Records, concatenate, unlabelled
from tfpdu.data.storage import ImageStore
from tfpdu.data.views import ViewPolicy

__all__ = [
    "SOURCES",
    "UNKNOWN",
    "AttributeSpec",
    "DrawSettings",
    "ImageStore",
    "PoolSizes",
    "Pools",
    "Records",
    "ViewPolicy",
    "concatenate",
    "cut_pools",
    "draw",
    "joint",
    "load",
    "unlabelled",
    "views",
    "with_joint",
]
