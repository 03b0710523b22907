"""Model families: one adapter file each."""

from autotc.models.base import (
    Adapter,
    DecoderShape,
    Depths,
    Item,
    Projections,
    TowerShape,
    column_index,
    find_adapter,
    spread,
)
from autotc.models.llava import Llava
from autotc.models.qwen2_5_omni import Qwen25OmniThinker
from autotc.models.qwen2_5_vl import Qwen25VL
from autotc.models.qwen2_vl import Qwen2VL

ADAPTERS: tuple[Adapter, ...] = (Llava(), Qwen2VL(), Qwen25VL(), Qwen25OmniThinker())
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
    "spread",
]
