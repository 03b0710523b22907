"""Qwen3-VL: a vision tower whose inner blocks, merged 2 x 2, feed the first decoder layers too; an M-RoPE decoder."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from autotc.errors import UnsupportedModelError
from autotc.lazy import PreTrainedConfig
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item
from autotc.models.qwen2_vl import Qwen2VL
from autotc.models.shapes import LayerShape, TowerShape
from autotc.vocabulary import Modality


class DeepStack(Qwen2VL):
    """Qwen3's vision tower: full attention in each frame, and DeepStack (2406.04334).

    Outputs of inner blocks, merged like the last one's, are added to the tokens behind the first decoder layers.
    """

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        unit = vision.spatial_merge_size**2
        return TowerShape(vision.hidden_size, vision.num_heads, vision.intermediate_size, False, vision.depth, unit)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        return super().projector_flops(config, item) * (1 + len(self.deepstack(config, item.modality)))

    def deepstack(self, config: PreTrainedConfig, modality: Modality) -> tuple[int, ...]:
        return tuple(config.vision_config.deepstack_visual_indexes)


class Qwen3VL(DeepStack):
    """`Qwen3VLForConditionalGeneration`, and with a mixture of experts `Qwen3VLMoeForConditionalGeneration`.

    A video's placeholders stand frame by frame behind time stamps, which are text and count as the query's.
    """

    family = "qwen3_vl"
    processors: ClassVar[tuple[str, ...]] = ("Qwen3VLProcessor",)
    frames_apart = True
    architectures = ("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration")
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "text_config.head_dim",
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
        "vision_config.deepstack_visual_indexes",
    )

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        return with_experts(super().layer_shape(text, index), text, self.family)


def with_experts(shape: LayerShape, text: PreTrainedConfig, family: str) -> LayerShape:
    """The shape of a layer of a decoder, all of whose layers are mixtures of experts if any is.

    Raises:
        UnsupportedModelError: some layers are and some are not.
    """
    experts = getattr(text, "num_experts", 0)
    if not experts:
        return shape
    if text.decoder_sparse_step != 1 or text.mlp_only_layers:
        raise UnsupportedModelError(
            f"{family}: text_config.decoder_sparse_step {text.decoder_sparse_step} and mlp_only_layers"
            f" {text.mlp_only_layers} given; a mixture of experts in every layer is right"
        )
    return replace(shape, hidden=text.num_experts_per_tok * text.moe_intermediate_size, routes=experts)
