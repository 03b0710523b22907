"""Qwen3-Omni thinker: Qwen3's vision tower, a chunked audio tower, and an M-RoPE mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.models.geometry import Item
from autotc.models.qwen3_vl import DeepStack, with_experts
from autotc.models.shapes import LayerShape, TowerShape
from autotc.models.thinker import Thinker, mel_frames
from autotc.vocabulary import Modality

_UNIT_SECONDS = 0.08
"""Eight mel frames of 10 ms: three convolutions halve their number."""


_CHUNK = 100
"""Mel frames of a chunk, which the processor takes for given."""


class Qwen3OmniThinker(Thinker, DeepStack):
    """`Qwen3OmniMoeThinkerForConditionalGeneration`; each row of the audio tower is a token.

    An input stage on sound averages mel frames, so that chunks of as many frames cover more of the clip.
    """

    family = "qwen3_omni"
    processors = ("Qwen3OmniMoeProcessor",)
    architectures = ("Qwen3OmniMoeThinkerForConditionalGeneration",)
    containers: ClassVar[Mapping[str, str]] = {"Qwen3OmniMoeForConditionalGeneration": "thinker"}
    structural: ClassVar[tuple[str, ...]] = (
        "text_config.hidden_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "text_config.num_key_value_heads",
        "text_config.moe_intermediate_size",
        "text_config.num_experts",
        "text_config.num_experts_per_tok",
        "text_config.vocab_size",
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
        "vision_config.deepstack_visual_indexes",
        "audio_config.encoder_layers",
        "audio_config.d_model",
        "audio_config.num_mel_bins",
        "audio_config.n_window",
        "audio_config.n_window_infer",
    )

    def layer_shape(self, text: PreTrainedConfig, index: int) -> LayerShape:
        return with_experts(super().layer_shape(text, index), text, self.family)

    def depths(self, config: PreTrainedConfig) -> Depths:
        depths = super().depths(config)
        return Depths(depths.decoder, {**depths.encoder, "audio": config.audio_config.encoder_layers})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        if modality != "audio":
            return super().tower_shape(config, modality)
        audio = config.audio_config
        return TowerShape(
            audio.d_model, audio.encoder_attention_heads, audio.encoder_ffn_dim, False, audio.encoder_layers, 1
        )

    def deepstack(self, config: PreTrainedConfig, modality: Modality) -> tuple[int, ...]:
        return () if modality == "audio" else super().deepstack(config, modality)

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        if not isinstance(item, Clip):
            return super().stem_flops(config, item)
        audio = config.audio_config
        # Chunks are padded to the longest before the convolutions.
        chunks, long = -(-item.frames // (2 * audio.n_window)), min(item.frames, 2 * audio.n_window)
        mels, width, flops, channels = audio.num_mel_bins, audio.downsample_hidden_size, 0, 1
        for _ in range(3):
            mels, long = (mels + 1) // 2, (long + 1) // 2
            flops += 2 * 9 * chunks * mels * long * channels * width
            channels = width
        return int(flops + 2 * chunks * long * width * mels * audio.d_model)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        if item.modality != "audio":
            return super().projector_flops(config, item)
        audio = config.audio_config
        return int(2 * item.count * audio.d_model * (audio.d_model + audio.output_dim))

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        if item.modality != "audio":
            return super().segments(config, item, block)
        audio = config.audio_config
        chunk = _tokens(2 * audio.n_window)
        return torch.split(torch.arange(item.count), chunk * (audio.n_window_infer // (2 * audio.n_window)))

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        if modality != "audio":
            return super().geometry(config, modality, arguments)
        chunk = 2 * config.audio_config.n_window
        items: list[Item] = []
        for frames in mel_frames(arguments):
            count = frames // chunk * _tokens(chunk) + _tokens(frames % chunk)
            items.append(Clip("audio", (count, 1, 1), count, (_UNIT_SECONDS, 0.0, 0.0), frames))
        return items

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        if modality != "audio":
            return super().unit_rows(config, modality, items)
        return torch.arange(sum(item.count for item in items))[:, None]

    def clip_units(self, frames: int) -> int:
        return frames // _CHUNK * _tokens(_CHUNK) + _tokens(frames % _CHUNK)

    def clip_frames(self, units: int) -> int:
        chunks, rest = divmod(units, _tokens(_CHUNK))
        return _CHUNK * chunks + 8 * rest


@dataclass(frozen=True)
class Clip(Item):
    """An audio clip of some mel frames."""

    frames: int = 0

    def resized(self, grid: tuple[int, int, int]) -> Self:
        chunks, rest = divmod(grid[0], _tokens(_CHUNK))
        return replace(self, grid=grid, extent=self._scaled(self.grid, grid), frames=_CHUNK * chunks + 8 * rest)


def _tokens(frames: int) -> int:
    """Tokens that three convolutions of stride 2 leave of a chunk of mel frames."""
    return -(-frames // 8)
