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
from autotc.models.gemma3 import Gemma3
from autotc.models.internvl import InternVL
from autotc.models.llava import Llava
from autotc.models.llava_next import LlavaNext
from autotc.models.llava_onevision import LlavaOnevision
from autotc.models.qwen2_5_omni import Qwen25OmniThinker
from autotc.models.qwen2_5_vl import Qwen25VL
from autotc.models.qwen2_audio import Qwen2Audio
from autotc.models.qwen2_vl import Qwen2VL
from autotc.models.qwen3_omni import Qwen3OmniThinker
from autotc.models.qwen3_vl import Qwen3VL
from autotc.models.smolvlm import SmolVLM

ADAPTERS: tuple[Adapter, ...] = (
    Llava(),
    LlavaNext(),
    LlavaOnevision(),
    Qwen2VL(),
    Qwen25VL(),
    Qwen3VL(),
    Qwen25OmniThinker(),
    Qwen3OmniThinker(),
    InternVL(),
    Qwen2Audio(),
    Gemma3(),
    SmolVLM(),
)
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
