"""Qwen2-VL: a vision tower with a 2 x 2 merger and full attention in every block, and an M-RoPE decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item
from autotc.models.qwen2_5_vl import Qwen25VL
from autotc.models.shapes import TowerShape
from autotc.vocabulary import Modality


class Qwen2VL(Qwen25VL):
    """`Qwen2VLForConditionalGeneration`: as Qwen2.5-VL, without windows and gated MLPs in the tower."""

    family = "qwen2_vl"
    processors: ClassVar[tuple[str, ...]] = ("Qwen2VLProcessor",)
    architectures: ClassVar[tuple[str, ...]] = ("Qwen2VLForConditionalGeneration",)
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "vision_config.depth",
        "vision_config.embed_dim",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
        "vision_config.mlp_ratio",
    )

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        hidden = int(vision.embed_dim * vision.mlp_ratio)
        unit = vision.spatial_merge_size**2
        return TowerShape(vision.embed_dim, vision.num_heads, hidden, False, vision.depth, unit)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return torch.split(torch.arange(item.count), item.grid[1] * item.grid[2])

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        unit = self.merge(config, modality) ** 2
        return torch.arange(sum(item.count for item in items) * unit).view(-1, unit)
