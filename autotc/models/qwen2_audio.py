"""Qwen2-Audio: a Whisper tower over clips padded to one length, pooling pairs, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item, Media
from autotc.models.media import Shrink
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import Projections, TowerShape, child, plain_projections
from autotc.models.thinker import mel_frames
from autotc.vocabulary import Modality

_UNIT_SECONDS = 0.04
"""Four mel frames of 10 ms: the second convolution joins two, pooling joins two of what it makes."""


class Qwen2Audio(RotaryDecoder):
    """`Qwen2AudioForConditionalGeneration`; a unit is the pair of rows that average pooling joins into a token.

    The processor puts a placeholder for each token; the older form, one placeholder a clip, is refused, since there the
    model itself writes the prompt anew. Clips are padded to the tower's one length: an input stage averages mel frames
    and leaves the language model fewer tokens, the tower its work. Rows behind a clip's units are padding, and stay.
    The label that the chat template writes in front of a clip ("Audio 1:") is plain text and counts as the query's.
    """

    family = "qwen2_audio"
    architectures = ("Qwen2AudioForConditionalGeneration",)
    processors = ("Qwen2AudioProcessor",)
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "audio_config.encoder_layers",
        "audio_config.d_model",
        "audio_config.num_mel_bins",
        "audio_config.max_source_positions",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        return Depths(config.text_config.num_hidden_layers, {"audio": config.audio_config.encoder_layers})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        audio = config.audio_config
        return TowerShape(
            audio.d_model, audio.encoder_attention_heads, audio.encoder_ffn_dim, False, audio.encoder_layers, 2, True
        )

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        audio = config.audio_config
        rows, width = audio.max_source_positions, audio.d_model
        return int(2 * 3 * (2 * rows * audio.num_mel_bins * width + rows * width**2))

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        # Pooled padding is projected too.
        audio = config.audio_config
        return int(2 * (audio.max_source_positions // 2) * audio.d_model * config.text_config.hidden_size)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return (torch.arange(item.count),)

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        return (config.audio_config.max_source_positions - 2 * item.count,)

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "audio_tower.layers").children())

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(self.block_attention(block))

    def block_attention(self, block: nn.Module) -> nn.Module:
        return child(block, "self_attn")

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: object) -> tuple[Tensor, Tensor]:
        return query, key

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"audio": "audio_tower"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"audio": "feature_attention_mask"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        items: list[Item] = []
        for i, frames in enumerate(mel_frames(arguments)):
            count = self.clip_units(frames)
            if count < 1:
                raise InputsError(f"feature_attention_mask: clip {i} has {frames} frames; a token takes at least 3")
            items.append(Item("audio", (count, 1, 1), count, (_UNIT_SECONDS, 0.0, 0.0)))
        return items

    def shrunk_clip(self, stage: Shrink, units: int) -> int:
        # A prompt without two placeholders side by side is taken for the older form.
        return max(min(2, units), super().shrunk_clip(stage, units))

    def clip_units(self, frames: int) -> int:
        return ((frames - 1) // 2 + 1) // 2

    def clip_frames(self, units: int) -> int:
        return 4 * units

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        length = config.audio_config.max_source_positions
        rows = [i * length + torch.arange(2 * item.count).view(-1, 2) for i, item in enumerate(items)]
        return torch.cat(rows)

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"audio": config.audio_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        audio = config.audio_config
        longest = 2 * audio.max_source_positions
        whole, rest = divmod(tokens, longest // 4)
        frames = torch.tensor([longest] * whole + [4 * rest] * (rest > 0))
        features = torch.randn(len(frames), audio.num_mel_bins, longest, generator=generator)
        inputs = {
            "input_features": features,
            "feature_attention_mask": (torch.arange(longest) < frames[:, None]).long(),
        }
        return Media([config.audio_token_id] * tokens, inputs)
