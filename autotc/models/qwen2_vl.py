"""Qwen2-VL: a vision tower with a 2 x 2 merger and full attention in every block, and an M-RoPE decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from autotc.mechanisms import Location, Modality
from autotc.models.base import Depths, Item, TowerShape
from autotc.models.parts import QwenVision, RotaryDecoder


class Qwen2VL(QwenVision, RotaryDecoder):
    """`Qwen2VLForConditionalGeneration`."""

    family = "qwen2_vl"
    architectures = ("Qwen2VLForConditionalGeneration",)
    locations: ClassVar[Mapping[Modality, tuple[Location, ...]]] = {
        "image": ("input", "encoder", "projector", "decoder"),
        "video": ("input", "encoder", "projector", "decoder"),
    }
    structural = (
        "text_config.hidden_size", "text_config.num_hidden_layers", "text_config.num_attention_heads",
        "text_config.num_key_value_heads", "text_config.intermediate_size", "text_config.vocab_size",
        "vision_config.depth", "vision_config.embed_dim", "vision_config.patch_size",
        "vision_config.spatial_merge_size", "vision_config.temporal_patch_size", "vision_config.mlp_ratio",
    )  # fmt: skip

    def depths(self, config: Any) -> Depths:
        vision = config.vision_config.depth
        return Depths(config.text_config.num_hidden_layers, {"image": vision, "video": vision})

    def tower_shape(self, config: Any, modality: Modality) -> TowerShape:
        vision = config.vision_config
        hidden = int(vision.embed_dim * vision.mlp_ratio)
        unit = vision.spatial_merge_size**2
        return TowerShape(vision.embed_dim, vision.num_heads, hidden, False, vision.depth, unit)

    def stem_flops(self, config: Any, item: Item) -> int:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return int(2 * item.count * vision.spatial_merge_size**2 * patch * vision.embed_dim)

    def projector_flops(self, config: Any, item: Item) -> int:
        vision = config.vision_config
        wide = vision.embed_dim * vision.spatial_merge_size**2
        return int(2 * item.count * (wide * wide + wide * vision.hidden_size))

    def segments(self, config: Any, item: Item, block: int) -> Sequence[Tensor]:
        return torch.split(torch.arange(item.count), item.grid[1] * item.grid[2])

    def unit_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor:
        unit = config.vision_config.spatial_merge_size**2
        return torch.arange(sum(item.count for item in items) * unit).view(-1, unit)
