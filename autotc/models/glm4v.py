"""GLM-4.1V, 4.5V and 4.6V: a Qwen-like tower, a convolution that joins 2 x 2 patches, and an M-RoPE decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from autotc.lazy import PreTrainedConfig
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item
from autotc.models.qwen2_vl import Qwen2VL
from autotc.models.shapes import LayerShape, TowerShape
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Modality

_CHAT = ((151336,), (151337,), (*range(151329, 151365), 198))
"""GLM's released vocabulary: <|user|>, <|assistant|>, and the template: special tokens and the newline."""


class Glm4v(Qwen2VL):
    """`Glm4vForConditionalGeneration`, `Glm46VForConditionalGeneration`, and the mixture of experts `Glm4vMoe...`.

    Frames of a video stand apart, behind image placeholders with their time behind them: a request has pictures or
    videos, not both, as in the model itself. Each frame is encoded as a picture of its own.
    """

    family = "glm4v"
    since: ClassVar[str | None] = TRIED_SINCE
    frames_apart = True
    frame_marks = ("image_start_token_id", "image_end_token_id")
    architectures = (
        "Glm4vForConditionalGeneration",
        "Glm46VForConditionalGeneration",
        "Glm4vMoeForConditionalGeneration",
    )
    processors: ClassVar[tuple[str, ...]] = ("Glm4vProcessor", "Glm46VProcessor")
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.out_hidden_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
    )

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        shape = super().layer_shape(text, index)
        experts = getattr(text, "n_routed_experts", 0)
        if not experts or index < text.first_k_dense_replace:
            return shape
        hidden = (text.num_experts_per_tok + text.n_shared_experts) * text.moe_intermediate_size
        return replace(shape, hidden=hidden, routes=experts)

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        # The blocks' MLP is as wide as the tower's output, and gated; ``intermediate_size`` is the merger's.
        return TowerShape(
            vision.hidden_size,
            vision.num_heads,
            vision.out_hidden_size,
            True,
            vision.depth,
            vision.spatial_merge_size**2,
        )

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision = config.vision_config
        width = vision.out_hidden_size
        joined = vision.hidden_size * vision.spatial_merge_size**2 * width
        return int(2 * item.count * (joined + width**2 + 3 * width * vision.intermediate_size))

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.image_token_id}

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
