"""Qwen3.5 and Qwen3.6: Qwen3-VL's tower without a deep stack, and a decoder most of whose layers are recurrent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig
from autotc.models.hybrid import HybridDecoder
from autotc.models.qwen3_vl import Qwen3VL
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Modality

CHAT = ((248045, 846), (248046,), (*range(248044, 248077), 198))
"""Qwen3.5's own vocabulary: <|im_start|>user, <|im_end|>, and the template: special tokens and the newline."""


class Qwen35(HybridDecoder, Qwen3VL):
    """`Qwen3_5ForConditionalGeneration`, and with a mixture of experts `Qwen3_5MoeForConditionalGeneration`.

    Three of four decoder layers are gated delta-nets: a token that has been removed in front of one is a token that its
    convolution and its state never see. Attention, and what is read of it, is in the other layers alone; it multiplies
    its output by a gate. Qwen3.6 has the same classes.
    """

    family = "qwen3_5"
    since: ClassVar[str | None] = TRIED_SINCE
    video_as_images = True
    architectures = ("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration")
    processors: ClassVar[tuple[str, ...]] = ("Qwen3VLProcessor",)
    structural: ClassVar[tuple[str, ...]] = (
        "text_config.hidden_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "text_config.num_key_value_heads",
        "text_config.head_dim",
        "text_config.layer_types",
        "text_config.linear_num_key_heads",
        "text_config.linear_key_head_dim",
        "text_config.linear_num_value_heads",
        "text_config.linear_value_head_dim",
        "text_config.vocab_size",
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        return replace(super().depths(config), recurrent=self.recurrent(config.text_config))

    def deepstack(self, config: PreTrainedConfig, modality: Modality) -> tuple[int, ...]:
        return ()

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return CHAT
