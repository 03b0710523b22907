"""Qwen2.5-Omni thinker: vision tower with a 2 x 2 merger in window order, audio tower pooling pairs, M-RoPE decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import apply_rotary_pos_emb, apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_window_index

from autotc.errors import InputsError
from autotc.mechanisms import Location, Modality
from autotc.models.base import Adapter, DecoderShape, Depths, Item, Projections, TowerShape

_MEL_SECONDS = 0.01
_AUDIO_UNIT_SECONDS = 4 * _MEL_SECONDS
_DEFAULT_SECOND_PER_GRID = 1.0


class Qwen25OmniThinker(Adapter):
    """`Qwen2_5OmniThinkerForConditionalGeneration`, the embedded `tiny-omni` included."""

    family = "qwen2_5_omni"
    architectures = ("Qwen2_5OmniThinkerForConditionalGeneration",)
    locations: ClassVar[Mapping[Modality, tuple[Location, ...]]] = {
        "image": ("input", "encoder", "projector", "decoder"),
        "video": ("input", "encoder", "projector", "decoder"),
        "audio": ("input", "encoder", "projector", "decoder"),
    }
    structural = (
        "text_config.hidden_size", "text_config.num_hidden_layers", "text_config.num_attention_heads",
        "text_config.num_key_value_heads", "text_config.intermediate_size", "text_config.vocab_size",
        "vision_config.depth", "vision_config.hidden_size", "vision_config.patch_size",
        "vision_config.spatial_merge_size", "vision_config.temporal_patch_size", "vision_config.window_size",
        "vision_config.fullatt_block_indexes", "audio_config.encoder_layers", "audio_config.d_model",
        "audio_config.num_mel_bins", "audio_config.n_window",
    )  # fmt: skip

    def depths(self, config: Any) -> Depths:
        vision, audio = config.vision_config.depth, config.audio_config.encoder_layers
        return Depths(config.text_config.num_hidden_layers, {"image": vision, "video": vision, "audio": audio})

    def decoder_shape(self, config: Any) -> DecoderShape:
        text = config.text_config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return DecoderShape(
            width=text.hidden_size,
            heads=text.num_attention_heads,
            kv_heads=text.num_key_value_heads,
            head_dim=head_dim,
            hidden=text.intermediate_size,
            layers=text.num_hidden_layers,
            vocabulary=text.vocab_size,
        )

    def tower_shape(self, config: Any, modality: Modality) -> TowerShape:
        if modality == "audio":
            audio = config.audio_config
            return TowerShape(
                audio.d_model, audio.encoder_attention_heads, audio.encoder_ffn_dim, False, audio.encoder_layers, 2
            )
        vision = config.vision_config
        unit = vision.spatial_merge_size**2
        return TowerShape(
            vision.hidden_size, vision.num_heads, vision.intermediate_size, True, vision.depth, unit
        )  # fmt: skip

    def stem_flops(self, config: Any, item: Item) -> int:
        if item.modality == "audio":
            audio = config.audio_config
            chunk = 2 * audio.n_window
            mel = item.frames if isinstance(item, AudioItem) else 4 * item.count
            # Chunks are padded to the longest before the convolutions.
            chunks = -(-mel // chunk)
            frames = chunks * min(mel, chunk)
            after = chunks * ((min(mel, chunk) - 1) // 2 + 1)
            return int(2 * 3 * (frames * audio.num_mel_bins * audio.d_model + after * audio.d_model**2))
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return int(2 * item.count * vision.spatial_merge_size**2 * patch * vision.hidden_size)

    def projector_flops(self, config: Any, item: Item) -> int:
        if item.modality == "audio":
            audio = config.audio_config
            return int(2 * item.count * audio.d_model * audio.output_dim)
        vision = config.vision_config
        wide = vision.hidden_size * vision.spatial_merge_size**2
        return int(2 * item.count * (wide * wide + wide * vision.out_hidden_size))

    def segments(self, config: Any, item: Item, block: int) -> Sequence[Tensor]:
        units = torch.arange(item.count)
        if item.modality == "audio":
            return torch.split(units, config.audio_config.n_window // 2)
        _t, y, x = item.grid
        if block in config.vision_config.fullatt_block_indexes:
            return torch.split(units, y * x)
        index, cu = get_vision_window_index(
            _patch_grids(config, [item]),
            spatial_merge_size=config.vision_config.spatial_merge_size,
            window_size=config.vision_config.window_size,
            patch_size=config.vision_config.patch_size,
        )
        lengths = (cu[1:] - cu[:-1]) // config.vision_config.spatial_merge_size**2
        return torch.split(index, lengths.tolist())

    def extra_rows(self, item: Item) -> int:
        return item.extra if isinstance(item, AudioItem) else 0

    def base(self, model: nn.Module) -> nn.Module:
        return _child(model, "model")

    def language_model(self, model: nn.Module) -> nn.Module:
        return _child(self.base(model), "language_model")

    def layers(self, model: nn.Module) -> Sequence[nn.Module]:
        return list(_child(self.language_model(model), "layers").children())

    def layer_norm(self, layer: nn.Module) -> nn.Module:
        return _child(layer, "input_layernorm")

    def layer_projections(self, layer: nn.Module) -> Projections:
        attention: Any = layer.self_attn
        return Projections(
            attention.q_proj, attention.k_proj, attention.num_heads, attention.num_key_value_heads, attention.scaling
        )

    def rotate(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb(query, key, cos, sin)
        return out

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        base = self.base(model)
        tower = _child(base, "audio_tower") if modality == "audio" else _child(base, "visual")
        return list(_child(tower, "layers" if modality == "audio" else "blocks").children())

    def block_projections(self, block: nn.Module) -> Projections:
        attention: Any = getattr(block, "self_attn", None) or block.attn
        query = getattr(attention, "q_proj", None) or attention.q
        key = getattr(attention, "k_proj", None) or attention.k
        return Projections(query, key, attention.num_heads, attention.num_heads, attention.scaling)

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        if position_embeddings is None:
            return query, key
        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb_vision(query, key, cos, sin)
        return out

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features", "audio": "get_audio_features"}

    def geometry(self, config: Any, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        if modality == "audio":
            mask = arguments.get("feature_attention_mask")
            if mask is None:
                raise InputsError("feature_attention_mask: missing; audio needs it to know how long each clip is")
            items: list[Item] = []
            for frames in mask.sum(1).tolist():
                rows = (frames - 1) // 2 + 1
                count = (rows - 2) // 2 + 1
                items.append(
                    AudioItem("audio", (count, 1, 1), count, (_AUDIO_UNIT_SECONDS, 0.0, 0.0), rows - 2 * count, frames)
                )
            return items
        grids = arguments["image_grid_thw" if modality == "image" else "video_grid_thw"]
        merge, patch = config.vision_config.spatial_merge_size, config.vision_config.patch_size
        side = float(merge * patch)
        seconds = _DEFAULT_SECOND_PER_GRID if modality == "video" else 0.0
        out: list[Item] = []
        for t, h, w in grids.tolist():
            grid = (int(t), int(h) // merge, int(w) // merge)
            out.append(Item(modality, grid, grid[0] * grid[1] * grid[2], (seconds, side, side)))
        return out

    def unit_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor:
        if modality == "audio":
            parts, start = [], 0
            for item in items:
                first = start + 2 * torch.arange(item.count)
                parts.append(torch.stack([first, first + 1], 1))
                start += 2 * item.count + self.extra_rows(item)
            return torch.cat(parts)
        vision = config.vision_config
        unit = vision.spatial_merge_size**2
        index, _ = get_vision_window_index(
            _patch_grids(config, items),
            spatial_merge_size=vision.spatial_merge_size,
            window_size=vision.window_size,
            patch_size=vision.patch_size,
        )
        place = torch.empty_like(index)
        place[index] = torch.arange(len(index))
        rows: Tensor = place[:, None] * unit + torch.arange(unit)
        return rows

    def placeholders(self, config: Any) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.video_token_id, "audio": config.audio_token_id}

    def query_mask(self, config: Any, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        start, end, template = _turn(config)
        out = torch.ones_like(input_ids, dtype=torch.bool)
        excluded = torch.tensor([*template, *self.placeholders(config).values()], device=input_ids.device)
        out &= ~torch.isin(input_ids, excluded)
        opened = input_ids == start[-1]
        for back, token in enumerate(reversed(start[:-1]), start=1):
            opened &= input_ids.roll(back, 1) == token
        column = torch.arange(input_ids.shape[1], device=input_ids.device)
        first = torch.where(opened, column, -1).max(1).values
        closed = (input_ids == end) & (column > first[:, None])
        last = torch.where(closed, column, input_ids.shape[1]).min(1).values
        out &= (column > first[:, None]) & (column < last[:, None])
        return out if attention_mask is None else out & attention_mask.bool()


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


def _child(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name)


def _patch_grids(config: Any, items: Sequence[Item]) -> Tensor:
    merge = config.vision_config.spatial_merge_size
    return torch.tensor([[item.grid[0], item.grid[1] * merge, item.grid[2] * merge] for item in items])


def _turn(config: Any) -> tuple[Sequence[int], int, Sequence[int]]:
    """Ids that open the user's turn, id that closes it, ids of the template."""
    marks = getattr(config, "chat_marks", None)
    if marks is not None:
        return marks["user"], marks["end"], marks["template"]
    # Qwen2.5-Omni's released vocabulary: <|im_start|>user\n ... <|im_end|>, media delimiters, newline.
    return (151644, 872), 151645, (*range(151643, 151666), 198)
