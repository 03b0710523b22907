"""Model families: one adapter file each."""

from autotc.models.base import Adapter, DecoderShape, Depths, Item, Projections, TowerShape, column_index, find_adapter
from autotc.models.qwen2_5_omni import Qwen25OmniThinker

ADAPTERS: tuple[Adapter, ...] = (Qwen25OmniThinker(),)
"""Every family the runtime knows."""

__all__ = [
    "ADAPTERS",
    "Adapter",
    "DecoderShape",
    "Depths",
    "Item",
    "Projections",
    "TowerShape",
    "column_index",
    "find_adapter",
]
