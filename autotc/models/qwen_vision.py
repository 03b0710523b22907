"""Qwen's vision towers: packed patches, a merger that joins squares of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.mechanisms import Score
from autotc.models.adapter import Adapter
from autotc.models.geometry import Item, Media
from autotc.models.media import Medium, Prepared, Shrink, frames_of, picture, resized, sampled, setting
from autotc.models.random_media import marks, nearest_grid
from autotc.models.shapes import Projections, TowerShape, child
from autotc.vocabulary import Modality

SECONDS_PER_FRAME = 1.0
"""Extent of a video's frame in time where the request does not tell it."""


_FRAMES = 8
"""Frames of a random video, and tokens of each at the least."""


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
        frame_marks: fields of the configuration with the marks around a picture or frame.
    """

    frames_apart: ClassVar[bool] = False
    frame_marks: ClassVar[tuple[str, str]] = ("vision_start_token_id", "vision_end_token_id")

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        unit = vision.spatial_merge_size**2
        return TowerShape(vision.hidden_size, vision.num_heads, vision.intermediate_size, True, vision.depth, unit)

    def merge(self, config: PreTrainedConfig, modality: Modality) -> int:
        """Side of the squares of patches that are joined into a token."""
        return int(config.vision_config.spatial_merge_size)

    def patch_values(self, config: PreTrainedConfig) -> int:
        """Values of a patch: of its pixels, in all channels and frames."""
        vision = config.vision_config
        return int(vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        shape = self.tower_shape(config, item.modality)
        return int(2 * item.count * shape.unit * self.patch_values(config) * shape.width)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        shape = self.tower_shape(config, item.modality)
        wide = shape.width * shape.unit
        return int(2 * item.count * (wide * wide + wide * config.get_text_config().hidden_size))

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        _t, y, x = item.grid
        if block in config.vision_config.fullatt_block_indexes:
            return torch.split(torch.arange(item.count), y * x)
        index, cu = self._windows(config, [item])
        lengths = (cu[1:] - cu[:-1]) // config.vision_config.spatial_merge_size**2
        return torch.split(index, lengths.tolist())

    def score_block(self, config: PreTrainedConfig, modality: Modality, need: Score) -> int:
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
        from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb_vision(query, key, cos, sin)
        return out

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features", "video": "get_video_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_grid_thw", "video": "video_grid_thw"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        grids = arguments[self.shape_inputs()[modality]]
        merge, patch = self.merge(config, modality), config.vision_config.patch_size
        side = float(merge * patch)
        seconds = SECONDS_PER_FRAME if modality == "video" else 0.0
        out: list[Item] = []
        for t, h, w in grids.tolist():
            grid = (int(t), int(h) // merge, int(w) // merge)
            out.append(Item(modality, grid, grid[0] * grid[1] * grid[2], (seconds, side, side)))
        ids = arguments.get("input_ids")
        if modality == "video" and self.frames_apart and ids is not None:
            here = (ids == self.placeholders(config)[modality]).flatten().cpu()
            return self._stamped(out, here.nonzero()[:, 0].tolist())
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

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        unit = config.vision_config.spatial_merge_size**2
        index, _ = self._windows(config, items)
        place = torch.empty_like(index)
        place[index] = torch.arange(len(index))
        rows: Tensor = place[:, None] * unit + torch.arange(unit)
        return rows

    @staticmethod
    def _windows(config: PreTrainedConfig, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Order of the units in windows, and the windows' cumulative lengths in patches."""
        from transformers.vision_utils import get_vision_window_index

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

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id, "video": config.video_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        frames = 1 if modality == "image" else max(1, min(_FRAMES, tokens // _FRAMES))
        y, x = nearest_grid(tokens / frames)
        unit = self.merge(config, modality)
        pixels = torch.randn(frames * y * x * unit**2, self.patch_values(config), generator=generator)
        grid = torch.tensor([[frames, y * unit, x * unit]])
        suffix = "" if modality == "image" else "_videos"
        inputs = {f"pixel_values{suffix}": pixels, self.shape_inputs()[modality]: grid}
        parts = frames if self.frames_apart else 1
        opening, closing = (marks(config, name) for name in self.frame_marks)
        ids = [*opening, *[self.placeholders(config)[modality]] * (frames * y * x // parts), *closing] * parts
        return Media(ids, inputs)
