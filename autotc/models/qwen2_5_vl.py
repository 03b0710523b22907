"""Qwen2.5-VL: a vision tower with a 2 x 2 merger in window order, and an M-RoPE decoder."""

from __future__ import annotations

from typing import ClassVar

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.qwen_vision import QwenVision
from autotc.models.rotary import RotaryDecoder


class Qwen25VL(QwenVision, RotaryDecoder):
    """`Qwen2_5_VLForConditionalGeneration`."""

    family = "qwen2_5_vl"
    processors: ClassVar[tuple[str, ...]] = ("Qwen2_5_VLProcessor",)
    architectures: ClassVar[tuple[str, ...]] = ("Qwen2_5_VLForConditionalGeneration",)
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
        "vision_config.window_size",
        "vision_config.fullatt_block_indexes",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        vision = config.vision_config.depth
        return Depths(config.text_config.num_hidden_layers, {"image": vision, "video": vision})
