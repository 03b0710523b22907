"""Parts that families share: decoders with rotary embedding, Qwen's vision towers, the last user turn of a chat."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision
from transformers.vision_utils import get_vision_window_index

from autotc.mechanisms import Score
from autotc.models.base import Adapter, DecoderShape, Item, Media, Projections, TowerShape
from autotc.models.media import Medium, Prepared, Shrink, frames_of, picture, resized, sampled, setting
from autotc.vocabulary import Modality

QWEN_CHAT = ((151644, 872), (151645,), (*range(151643, 151666), 198))
"""Qwen's released vocabulary: <|im_start|>user, <|im_end|>, and the template: special tokens and the newline."""
SECONDS_PER_FRAME = 1.0
"""Extent of a video's frame in time where the request does not tell it."""


def child(module: nn.Module, name: str) -> nn.Module:
    """A submodule by its dotted name."""
    return module.get_submodule(name)


def _found(ids: Tensor, pattern: Sequence[int]) -> Tensor:
    """(B, L) bool: where a run of ids ends."""
    out = ids == pattern[-1]
    for back, token in enumerate(reversed(pattern[:-1]), start=1):
        out &= ids.roll(back, 1) == token
    out[:, : len(pattern) - 1] = False
    return out


def last_turn(ids: Tensor, opening: Sequence[int], closing: Sequence[int]) -> Tensor:
    """(B, L) bool: what stands between the last opening of a user's turn and the closing after it.

    Args:
        ids: (B, L) long.
        opening: ids that open a turn; a row without any opens before its first token.
        closing: ids that close it; where they are missing the turn goes on to the end.
    """
    column = torch.arange(ids.shape[1], device=ids.device)
    first = torch.where(_found(ids, opening), column, -1).amax(1, keepdim=True)
    closed = _found(ids, closing) & (column > first)
    last = torch.where(closed, column - (len(closing) - 1), ids.shape[1]).amin(1, keepdim=True)
    return (column > first) & (column < last)


class RotaryDecoder(Adapter):
    """A language model of pre-norm layers with rotary embedding, under ``model.language_model``."""

    def decoder_shape(self, config: Any) -> DecoderShape:
        text = config.get_text_config()
        return DecoderShape(
            width=text.hidden_size,
            heads=text.num_attention_heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            hidden=text.intermediate_size,
            layers=text.num_hidden_layers,
            vocabulary=text.vocab_size,
        )

    def base(self, model: nn.Module) -> nn.Module:
        return child(model, "model")

    def language_model(self, model: nn.Module) -> nn.Module:
        return child(self.base(model), "language_model")

    def layers(self, model: nn.Module) -> Sequence[nn.Module]:
        return list(child(self.language_model(model), "layers").children())

    def layer_norm(self, layer: nn.Module) -> nn.Module:
        return child(layer, "input_layernorm")

    def layer_projections(self, layer: nn.Module) -> Projections:
        attention: Any = layer.self_attn
        width = attention.head_dim
        heads, groups = attention.q_proj.out_features // width, attention.k_proj.out_features // width
        norms, by_head = None, True
        if hasattr(attention, "q_norm"):
            norms = (attention.q_norm, attention.k_norm)
            by_head = attention.q_norm.weight.shape[0] == width
        return Projections(
            attention.q_proj, attention.k_proj, heads, groups, attention.scaling, norms=norms, norm_heads=by_head
        )

    def rotate(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb(query, key, cos, sin)
        return out

    def query_mask(self, config: Any, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        opening, closing, template = self.chat(config)
        excluded = torch.tensor([*template, *self.placeholders(config).values()], device=input_ids.device)
        out = last_turn(input_ids, opening, closing) & ~torch.isin(input_ids, excluded)
        return out if attention_mask is None else out & attention_mask.bool()

    def chat(self, config: Any) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        own = getattr(config, "chat_marks", None)
        if own is not None:
            end = own["end"]
            return own["user"], end if isinstance(end, Sequence) else (end,), own["template"]
        return self.released_chat()

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """The same for the released checkpoints' vocabulary."""
        return QWEN_CHAT


@dataclass(frozen=True)
class StampedVideo(Item):
    """A video whose frames stand apart in the prompt.

    Attributes:
        stamp: tokens of the time stamp and the marks in front of each frame.
    """

    stamp: int = 0

    @property
    def structure(self) -> int:
        return self.stamp * self.grid[0]


class QwenVision(Adapter):
    """Qwen2.5's vision tower: packed patches in window order, a merger that joins squares of them.

    Class attributes:
        frames_apart: whether each frame of a video stands between marks of its own.
    """

    frames_apart: ClassVar[bool] = False

    def tower_shape(self, config: Any, modality: Modality) -> TowerShape:
        vision = config.vision_config
        unit = vision.spatial_merge_size**2
        return TowerShape(vision.hidden_size, vision.num_heads, vision.intermediate_size, True, vision.depth, unit)

    def stem_flops(self, config: Any, item: Item) -> int:
        vision = config.vision_config
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        width = self.tower_shape(config, item.modality).width
        return int(2 * item.count * vision.spatial_merge_size**2 * patch * width)

    def projector_flops(self, config: Any, item: Item) -> int:
        shape = self.tower_shape(config, item.modality)
        wide = shape.width * shape.unit
        return int(2 * item.count * (wide * wide + wide * self.decoder_shape(config).width))

    def segments(self, config: Any, item: Item, block: int) -> Sequence[Tensor]:
        _t, y, x = item.grid
        if block in config.vision_config.fullatt_block_indexes:
            return torch.split(torch.arange(item.count), y * x)
        index, cu = self._windows(config, [item])
        lengths = (cu[1:] - cu[:-1]) // config.vision_config.spatial_merge_size**2
        return torch.split(index, lengths.tolist())

    def score_block(self, config: Any, modality: Modality, need: Score) -> int:
        # In a windowed block every window receives as much as every other: the nearest block that sees the whole.
        wanted = super().score_block(config, modality, need)
        whole = getattr(config.vision_config, "fullatt_block_indexes", None) or [wanted]
        return int(min(whole, key=lambda block: (abs(block - wanted), block)))

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "visual.blocks").children())

    def block_projections(self, block: nn.Module) -> Projections:
        attention: Any = block.attn
        fused = hasattr(attention, "qkv")
        query, key = (attention.qkv, attention.qkv) if fused else (attention.q, attention.k)
        return Projections(query, key, attention.num_heads, attention.num_heads, attention.scaling, fused)

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb_vision(query, key, cos, sin)
        return out

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_grid_thw", "video": "video_grid_thw"}

    def geometry(self, config: Any, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        grids = arguments[self.shape_inputs()[modality]]
        merge, patch = config.vision_config.spatial_merge_size, config.vision_config.patch_size
        side = float(merge * patch)
        seconds = SECONDS_PER_FRAME if modality == "video" else 0.0
        out: list[Item] = []
        for t, h, w in grids.tolist():
            grid = (int(t), int(h) // merge, int(w) // merge)
            out.append(Item(modality, grid, grid[0] * grid[1] * grid[2], (seconds, side, side)))
        ids = arguments.get("input_ids")
        if modality == "video" and self.frames_apart and ids is not None:
            return self._stamped(out, (ids == config.video_token_id).flatten().nonzero()[:, 0].tolist())
        return out

    @staticmethod
    def _stamped(items: Sequence[Item], places: Sequence[int]) -> list[Item]:
        """Videos with the words in front of each frame counted, from where their placeholders stand in the prompts."""
        out: list[Item] = []
        start = 0
        for item in items:
            mine = places[start : start + item.count]
            start += item.count
            words = mine[-1] - mine[0] + 1 - len(mine) if len(mine) == item.count else 0
            stamp = round(words / (item.grid[0] - 1)) if item.grid[0] > 1 else 0
            out.append(StampedVideo(item.modality, item.grid, item.n0, item.extent, stamp))
        return out

    def unit_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor:
        unit = config.vision_config.spatial_merge_size**2
        index, _ = self._windows(config, items)
        place = torch.empty_like(index)
        place[index] = torch.arange(len(index))
        rows: Tensor = place[:, None] * unit + torch.arange(unit)
        return rows

    @staticmethod
    def _windows(config: Any, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Order of the units in windows, and the windows' cumulative lengths in patches."""
        vision = config.vision_config
        merge = vision.spatial_merge_size
        grids = torch.tensor([[item.grid[0], item.grid[1] * merge, item.grid[2] * merge] for item in items])
        index, lengths = get_vision_window_index(
            grids, spatial_merge_size=merge, window_size=vision.window_size, patch_size=vision.patch_size
        )
        return index, lengths

    def prepare(
        self,
        processor: Any,
        modality: Modality,
        media: Sequence[Any],
        alone: Sequence[bool],
        settings: Mapping[str, Any],
        stage: Shrink | None,
    ) -> Prepared | None:
        if stage is None:
            return None
        part = processor.image_processor if modality == "image" else processor.video_processor
        name, merge = ("images" if modality == "image" else "videos"), part.merge_size
        size = dict(setting(processor, settings, "size", modality))  # some classes override the checkpoint's own
        pixels = {name: settings[name] for name in ("min_pixels", "max_pixels") if name in settings}
        own = {name: value for name, value in settings.items() if hasattr(part, name)} | pixels
        out, originals = [], []
        for medium in media:
            frames = frames_of(medium)
            made = part(**{name: [medium]}, return_tensors="pt", **{"size": size, **own})
            t, y, x = made[self.shape_inputs()[modality]][0].tolist()
            grid = (int(t), int(y) // merge, int(x) // merge)
            length, rows, columns = stage.downsample.target_grid(grid, stage.ratio, modality)
            side = part.patch_size * merge
            smaller = resized(frames, (rows * side, columns * side))
            if modality == "image":
                out.append(picture(smaller))
            else:
                whole = smaller if length == grid[0] else sampled(smaller, length * part.temporal_patch_size)
                out.append(whole.permute(0, 2, 3, 1).numpy())
            originals.append(Medium(grid, grid[0] * grid[1] * grid[2]))
        free = {"min_pixels": 1, "max_pixels": 1 << 40}
        limits = {name: free[name] for name in pixels}
        return Prepared(out, originals, {"size": {"shortest_edge": 1, "longest_edge": 1 << 40}, **limits})

    def placeholders(self, config: Any) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def random_media(self, config: Any, modality: Modality, tokens: int, generator: torch.Generator) -> Media:
        vision = config.vision_config
        frames = 1 if modality == "image" else max(1, min(_FRAMES, tokens // _FRAMES))
        y, x = nearest_grid(tokens / frames)
        unit = vision.spatial_merge_size
        patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        pixels = torch.randn(frames * y * x * unit**2, patch, generator=generator)
        grid = torch.tensor([[frames, y * unit, x * unit]])
        suffix = "" if modality == "image" else "_videos"
        inputs = {f"pixel_values{suffix}": pixels, self.shape_inputs()[modality]: grid}
        parts = frames if self.frames_apart else 1
        opening, closing = marks(config, "vision_start_token_id"), marks(config, "vision_end_token_id")
        ids = [*opening, *[self.placeholders(config)[modality]] * (frames * y * x // parts), *closing] * parts
        return Media(ids, inputs)


_FRAMES = 8
"""Frames of a random video, and tokens of each at the least."""


def nearest_grid(units: float) -> tuple[int, int]:
    """Rows and columns whose product is near to a number, near to a square."""
    side = max(1, math.isqrt(int(units)))
    rows = range(side, max(1, side // 2) - 1, -1)
    return min(((y, max(1, round(units / y))) for y in rows), key=lambda grid: abs(grid[0] * grid[1] - units))


def marks(config: Any, name: str) -> list[int]:
    """The token of a mark, where the configuration has it."""
    token = getattr(config, name, None)
    return [] if token is None else [int(token)]


def random_clip(adapter: Adapter, config: Any, tokens: int, generator: torch.Generator) -> Media:
    """One audio clip of about ``tokens`` tokens for towers that take any length."""
    low, high = 1, 16 * tokens + 16
    while low < high:  # the fewest frames that make so many
        middle = (low + high) // 2
        (item,) = adapter.geometry(config, "audio", {"feature_attention_mask": torch.ones(1, middle)})
        low, high = (low, middle) if item.count >= tokens else (middle + 1, high)
    mask = torch.ones(1, low, dtype=torch.long)
    (item,) = adapter.geometry(config, "audio", {"feature_attention_mask": mask})
    features = torch.randn(1, config.audio_config.num_mel_bins, low, generator=generator)
    opening, closing = marks(config, "audio_start_token_id"), marks(config, "audio_end_token_id")
    ids = [*opening, *[adapter.placeholders(config)["audio"]] * item.count, *closing]
    return Media(ids, {"input_features": features, "feature_attention_mask": mask})


class Tiles(Adapter):
    """Vision towers that take a batch of square images of one size: an item is one tile, a unit a square of patches.

    Class attributes:
        class_token: whether a class token stands in front of a tile's patches.
    """

    class_token: ClassVar[bool] = False

    @abstractmethod
    def sides(self, config: Any) -> tuple[int, int]:
        """Patches along a side of a tile, and along a side of a unit.

        Raises:
            UnsupportedModelError: a configuration that the adapter does not understand.
        """

    def stem_flops(self, config: Any, item: Item) -> int:
        vision = config.vision_config
        patch = vision.num_channels * _side(vision.patch_size) ** 2
        return int(2 * self.sides(config)[0] ** 2 * patch * vision.hidden_size)

    def segments(self, config: Any, item: Item, block: int) -> Sequence[Tensor]:
        return (torch.arange(item.count),)

    def spare_rows(self, config: Any, item: Item, block: int) -> Sequence[int]:
        patches, unit = self.sides(config)
        return (patches**2 - item.count * unit**2 + self.class_token,)  # what squares do not cover, and the class token

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(self.block_attention(block))

    def block_attention(self, block: nn.Module) -> nn.Module:
        return child(block, "self_attn")

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        return query, key

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "pixel_values"}

    def tile(self, config: Any) -> Item:
        """The item that one tile is."""
        patches, unit = self.sides(config)
        side, pixels = patches // unit, float(unit * _side(config.vision_config.patch_size))
        return Item("image", (1, side, side), side * side, (0.0, pixels, pixels))

    def geometry(self, config: Any, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        return [self.tile(config)] * int(arguments["pixel_values"].shape[0])

    def unit_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor:
        patches, unit = self.sides(config)
        side = patches // unit * unit
        rows = torch.arange(patches**2).view(patches, patches)[:side, :side]
        squares = rows.unfold(0, unit, unit).unfold(1, unit, unit).reshape(-1, unit**2) + self.class_token
        return (self.class_places(config, len(items))[:, None, None] + squares).reshape(-1, unit**2)

    def class_rows(self, config: Any, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        return self.class_places(config, len(items)) if self.class_token else None

    def class_places(self, config: Any, tiles: int) -> Tensor:
        """(tiles,) long: first row of each tile."""
        return torch.arange(tiles) * (self.sides(config)[0] ** 2 + self.class_token)

    def placeholders(self, config: Any) -> Mapping[Modality, int]:
        return {"image": config.image_token_id}

    def random_media(self, config: Any, modality: Modality, tokens: int, generator: torch.Generator) -> Media:
        each = self.tile(config).count
        tiles = max(1, round(tokens / each))
        vision = config.vision_config
        side = _side(vision.image_size)
        pixels = torch.randn(tiles, vision.num_channels, side, side, generator=generator)
        image = [*marks(config, "boi_token_index"), *[self.placeholders(config)["image"]] * each]
        return Media([*image, *marks(config, "eoi_token_index")] * tiles, {"pixel_values": pixels})


def plain_projections(attention: Any) -> Projections:
    """Queries and keys of a tower's attention that is written as CLIP's or Whisper's."""
    scaling = attention.scale if hasattr(attention, "scale") else attention.scaling
    return Projections(attention.q_proj, attention.k_proj, attention.num_heads, attention.num_heads, scaling)


def _side(size: Any) -> int:
    """A side in pixels of what a configuration gives as one number or as (height, width)."""
    return int(size[0] if isinstance(size, Sequence) else size)


def pooling_head_flops(vision: Any, rows: int) -> int:
    """FLOPs of SigLIP's head on a tile: a probe's attention to all patches and an MLP on it, which is not read."""
    if not getattr(vision, "vision_use_head", True):
        return 0
    width = vision.hidden_size
    return int(2 * (2 * rows + 2) * width**2 + 4 * rows * width + 4 * width * vision.intermediate_size)
