"""Voxtral: a Whisper tower over windows of 30 seconds, four of its rows to a token, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item, Media
from autotc.models.qwen2_audio import Qwen2Audio
from autotc.models.shapes import TowerShape
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Location, Modality

_CHAT = ((3,), (4,), tuple(range(1000)))
"""Mistral's released vocabulary: [INST], [/INST], and the template: all of its special tokens."""
_BEGIN = 25
"""[BEGIN_AUDIO] in that vocabulary."""
_UNIT_SECONDS = 0.08
"""Eight mel frames of 10 ms: the second convolution joins two, four of what it makes are joined."""


class Voxtral(Qwen2Audio):
    """`VoxtralForConditionalGeneration`; an item is one window, and a unit the four rows that stand side by side in it.

    A clip is padded to whole windows, whose padding is tokens like any other, and which are encoded one by one: each
    keeps its share. Its processor takes clips by its chat template alone, which data files do not go through.
    """

    family = "voxtral"
    since: ClassVar[str | None] = TRIED_SINCE
    architectures = ("VoxtralForConditionalGeneration",)
    processors = ("VoxtralProcessor",)
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {
        "audio": {"input": "clips are padded to whole windows of 30 seconds, whatever is left of them"}
    }
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "audio_config.num_hidden_layers",
        "audio_config.hidden_size",
        "audio_config.intermediate_size",
        "audio_config.num_mel_bins",
        "audio_config.max_source_positions",
    )

    @staticmethod
    def joined(config: PreTrainedConfig) -> int:
        """Rows of the tower that make up a token."""
        audio = config.audio_config
        return int(audio.intermediate_size // audio.hidden_size)

    def window(self, config: PreTrainedConfig) -> Item:
        """The item that one window is."""
        count = config.audio_config.max_source_positions // self.joined(config)
        return Item("audio", (count, 1, 1), count, (_UNIT_SECONDS, 0.0, 0.0))

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        audio, unit = config.audio_config, self.joined(config)
        return TowerShape(
            audio.hidden_size,
            audio.num_attention_heads,
            audio.intermediate_size,
            False,
            audio.num_hidden_layers,
            unit,
            True,
        )

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.audio_config.intermediate_size, config.text_config.hidden_size
        return int(2 * item.count * (width * text_width + text_width**2))

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        return (config.audio_config.max_source_positions - self.joined(config) * item.count,)

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"audio": "get_audio_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"audio": "input_features"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        return [self.window(config)] * int(arguments["input_features"].shape[0])

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        length, unit = config.audio_config.max_source_positions, self.joined(config)
        rows = [i * length + torch.arange(unit * item.count).view(-1, unit) for i, item in enumerate(items)]
        return torch.cat(rows)

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        audio, each = config.audio_config, self.window(config).count
        windows = max(1, round(tokens / each))
        features = torch.randn(windows, audio.num_mel_bins, 2 * audio.max_source_positions, generator=generator)
        return Media([_BEGIN, *[config.audio_token_id] * (each * windows)], {"input_features": features})

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
