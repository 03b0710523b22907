"""Model families: one adapter file each."""

from autotc.models.adapter import Adapter
from autotc.models.bound import BoundAdapter
from autotc.models.geometry import Item, Media, column_index, spread
from autotc.models.registry import (
    ADAPTERS,
    bind,
    bind_config,
    find_adapter,
    find_architecture,
    find_processor_adapter,
    processor_adapter,
    unwrap,
)
from autotc.models.shapes import DecoderShape, LayerShape, Projections, TowerShape

__all__ = [
    "ADAPTERS",
    "Adapter",
    "BoundAdapter",
    "DecoderShape",
    "Item",
    "LayerShape",
    "Media",
    "Projections",
    "TowerShape",
    "bind",
    "bind_config",
    "column_index",
    "find_adapter",
    "find_architecture",
    "find_processor_adapter",
    "processor_adapter",
    "spread",
    "unwrap",
]
