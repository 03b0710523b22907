"""Qwen2.5-Omni thinker: vision tower with a 2 x 2 merger in window order, audio tower pooling pairs, M-RoPE decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import TowerShape
from autotc.models.thinker import Thinker, mel_frames
from autotc.vocabulary import Modality

_MEL_SECONDS = 0.01
_AUDIO_UNIT_SECONDS = 4 * _MEL_SECONDS


class Qwen25OmniThinker(Thinker, RotaryDecoder):
    """`Qwen2_5OmniThinkerForConditionalGeneration`, the embedded `tiny-omni` included."""

    family = "qwen2_5_omni"
    processors = ("Qwen2_5OmniProcessor",)
    architectures = ("Qwen2_5OmniThinkerForConditionalGeneration",)
    containers: ClassVar[Mapping[str, str]] = {
        "Qwen2_5OmniModel": "thinker",
        "Qwen2_5OmniForConditionalGeneration": "thinker",
    }
    structural = (
        *TEXT_FIELDS,
        "vision_config.depth",
        "vision_config.hidden_size",
        "vision_config.patch_size",
        "vision_config.spatial_merge_size",
        "vision_config.temporal_patch_size",
        "vision_config.window_size",
        "vision_config.fullatt_block_indexes",
        "audio_config.encoder_layers",
        "audio_config.d_model",
        "audio_config.num_mel_bins",
        "audio_config.n_window",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        vision, audio = config.vision_config.depth, config.audio_config.encoder_layers
        return Depths(config.text_config.num_hidden_layers, {"image": vision, "video": vision, "audio": audio})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        if modality != "audio":
            return super().tower_shape(config, modality)
        audio = config.audio_config
        return TowerShape(
            audio.d_model, audio.encoder_attention_heads, audio.encoder_ffn_dim, False, audio.encoder_layers, 2
        )

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        if item.modality != "audio":
            return super().stem_flops(config, item)
        audio = config.audio_config
        chunk = 2 * audio.n_window
        mel = item.frames if isinstance(item, AudioItem) else 4 * item.count
        # Chunks are padded to the longest before the convolutions.
        chunks = -(-mel // chunk)
        frames = chunks * min(mel, chunk)
        after = chunks * ((min(mel, chunk) - 1) // 2 + 1)
        return int(2 * 3 * (frames * audio.num_mel_bins * audio.d_model + after * audio.d_model**2))

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        if item.modality != "audio":
            return super().projector_flops(config, item)
        audio = config.audio_config
        return int(2 * item.count * audio.d_model * audio.output_dim)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        if item.modality != "audio":
            return super().segments(config, item, block)
        return torch.split(torch.arange(item.count), config.audio_config.n_window // 2)

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        spare = list(super().spare_rows(config, item, block))
        if isinstance(item, AudioItem):
            spare[-1] = item.extra
        return spare

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        if modality != "audio":
            return super().geometry(config, modality, arguments)
        items: list[Item] = []
        for frames in mel_frames(arguments):
            rows = (frames - 1) // 2 + 1
            count = self.clip_units(frames)
            items.append(
                AudioItem("audio", (count, 1, 1), count, (_AUDIO_UNIT_SECONDS, 0.0, 0.0), rows - 2 * count, frames)
            )
        return items

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        if modality != "audio":
            return super().unit_rows(config, modality, items)
        parts, start = [], 0
        for item in items:
            first = start + 2 * torch.arange(item.count)
            parts.append(torch.stack([first, first + 1], 1))
            start += 2 * item.count + (item.extra if isinstance(item, AudioItem) else 0)
        return torch.cat(parts)

    def clip_units(self, frames: int) -> int:
        return ((frames - 1) // 2 + 1 - 2) // 2 + 1

    def clip_frames(self, units: int) -> int:
        return 4 * units


@dataclass(frozen=True)
class AudioItem(Item):
    """An audio clip.

    Attributes:
        extra: rows of the tower that pooling pairs leaves over, 0 or 1.
        frames: mel frames.
    """

    extra: int = 0
    frames: int = 0

    def resized(self, grid: tuple[int, int, int]) -> Self:
        return replace(self, grid=grid, extent=self._scaled(self.grid, grid), extra=0, frames=4 * grid[0])
