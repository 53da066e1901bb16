"""Image data as Records: the catalog, pools and draws, views."""

from tfpdu.data.records import UNKNOWN, AttributeSpec, Records, concatenate

__all__ = ["UNKNOWN", "AttributeSpec", "Records", "concatenate"]
