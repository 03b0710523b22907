"""What the thinkers of Qwen's Omni models share: an audio tower of packed clips beside the vision tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.mechanisms import Score
from autotc.models.adapter import Adapter
from autotc.models.geometry import Media
from autotc.models.qwen_vision import QwenVision
from autotc.models.random_media import random_clip
from autotc.models.shapes import Projections, child, plain_projections
from autotc.versions import OMNI_SINCE
from autotc.vocabulary import Modality


class Thinker(QwenVision):
    """A thinker's audio side; what concerns pictures and videos is left to the next class in line."""

    since: ClassVar[str | None] = OMNI_SINCE

    def score_block(self, config: PreTrainedConfig, modality: Modality, need: Score) -> int:
        if modality != "audio":
            return super().score_block(config, modality, need)
        return Adapter.score_block(self, config, modality, need)

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        if modality != "audio":
            return super().blocks(model, modality)
        return list(child(self.base(model), "audio_tower.layers").children())

    def block_projections(self, block: nn.Module) -> Projections:
        if not hasattr(block, "self_attn"):  # a block of the vision tower
            return super().block_projections(block)
        return plain_projections(child(block, "self_attn"))

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        if position_embeddings is None:  # the audio tower adds positions to its input
            return query, key
        return super().rotate_block(query, key, position_embeddings)

    def feature_methods(self) -> Mapping[Modality, str]:
        return {**super().feature_methods(), "audio": "get_audio_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {**super().shape_inputs(), "audio": "feature_attention_mask"}

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {**super().placeholders(config), "audio": config.audio_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        if modality == "audio":
            return random_clip(self, config, tokens, generator)
        media = super().random_media(config, modality, tokens, generator)
        pace = {"video_second_per_grid": torch.ones(1)} if modality == "video" else {}
        return Media(media.ids, media.inputs | pace)

    def video_settings(self, processor: Any) -> Mapping[str, object]:
        # The processor's class overrides the checkpoint's own size for videos: pass it on.
        return {"size": dict(processor.video_processor.size), "cap_pixels_per_frame": False}


def mel_frames(arguments: Mapping[str, Any]) -> list[int]:
    """Mel frames of each clip of a call.

    Raises:
        InputsError: the argument that tells them is missing.
    """
    mask = arguments.get("feature_attention_mask")
    if mask is None:
        raise InputsError("feature_attention_mask: missing; audio needs it to know how long each clip is")
    frames: list[int] = mask.sum(1).tolist()
    return frames
