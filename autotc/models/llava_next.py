"""LLaVA-NeXT: a base view and a grid of tiles of each image in a CLIP tower, packed row by row with newlines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, Tensor, torch
from autotc.models.chat import QWEN_CHAT
from autotc.models.geometry import Item, Media
from autotc.models.llava import Llava
from autotc.models.media import Medium, Prepared, Shrink, frames_of, picture, resized, setting
from autotc.vocabulary import Location, Modality

_MISTRAL = ((733, 16289, 28793), (733, 28748, 16289, 28793), (1, 2, 13, 28705))
"""Mistral's released vocabulary: "[INST]", "[/INST]", and the template: start, end, newline and blank."""


_SCALES = 32
"""Sizes of an image that are tried."""


@dataclass(frozen=True)
class Anyres:
    """How images are tiled.

    Attributes:
        side, pixels: of a tile, in patches and in pixels.
        pinpoints: (height, width) in pixels of the canvases there are.
        most: views whose patches the grid is resized to where it has clearly more.
    """

    side: int
    pixels: int
    pinpoints: tuple[tuple[int, int], ...]
    most: int | None = None

    def packed(self, rows: int, columns: int) -> tuple[int, int]:
        """Rows and columns of an unpadded grid once the model has packed it."""
        if self.most is None:
            return rows, columns
        ratio = math.sqrt(rows * columns / (self.most * self.side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


@dataclass(frozen=True)
class TiledImage(Item):
    """An image as a base view and, where it is tiled, a grid of patches over all tiles; both cover all of it.

    ``grid`` is (views, rows, columns) of what is left of the tiles' grid without padding.

    Attributes:
        side: patches along a side of a tile.
        tiles: rows and columns of tiles; (0, 0) where the base view is all.
        top, left: rows and columns of padding in front of the grid that is left.
        size: height and width of the image in pixels.
    """

    side: int = 0
    tiles: tuple[int, int] = (0, 0)
    top: int = 0
    left: int = 0
    size: tuple[int, int] = (0, 0)

    @property
    def views(self) -> int:
        """Tiles in the tower, the base view included."""
        return 1 + self.tiles[0] * self.tiles[1]

    @property
    def count(self) -> int:
        return self.side**2 + (self.grid[1] * self.grid[2] if self.views > 1 else 0)

    @property
    def slots(self) -> int:
        return self.count + (self.grid[1] if self.views > 1 else 1)

    def offsets(self) -> Tensor:
        base = torch.arange(self.side**2)
        if self.views == 1:
            return base
        _, rows, columns = self.grid
        packed = torch.arange(rows * (columns + 1)).view(rows, columns + 1)[:, :-1]
        return torch.cat([base, len(base) + packed.reshape(-1)])

    def places(self) -> Tensor:
        views = [(0, self.side, self.side), *([(1, *self.grid[1:])] if self.views > 1 else [])]
        parts = [
            torch.cartesian_prod(torch.tensor([view]), torch.arange(rows), torch.arange(columns))
            for view, rows, columns in views
        ]
        return torch.cat(parts)

    def boxes(self) -> Tensor:
        places = self.places()
        rows = torch.where(places[:, 0] == 0, self.side, self.grid[1])
        columns = torch.where(places[:, 0] == 0, self.side, self.grid[2])
        height, width = self.size[0] / rows, self.size[1] / columns
        y, x = places[:, 1] * height, places[:, 2] * width
        none = torch.zeros_like(y)
        return torch.stack([none, none, y, y + height, x, x + width], 1)

    def tile_of(self) -> tuple[Tensor, Tensor]:
        """(N,) long: the tile of each unit, the base view first, and its patch there."""
        places = self.places()
        y, x = places[:, 1] + self.top, places[:, 2] + self.left
        tile = 1 + y // self.side * self.tiles[1] + x // self.side
        base = places[:, 0] == 0
        patch = torch.where(base, places[:, 1] * self.side + places[:, 2], y % self.side * self.side + x % self.side)
        return torch.where(base, 0, tile), patch


class LlavaNext(Llava):
    """`LlavaNextForConditionalGeneration`: as LLaVA-1.5, with a base view and tiles; newlines are structure.

    Patches of a tile that are only padding of the image are dropped before the language model: they are no units, and
    stay in the tower. An encoder stage divides an image's tokens over its tiles. An input stage resizes an image so
    that the processor chooses a smaller one of ``image_grid_pinpoints``; its base view always stays.
    """

    family = "llava_next"
    several_tiled: ClassVar[bool] = True
    """Whether each of several images in a prompt is tiled."""
    architectures = ("LlavaNextForConditionalGeneration",)
    processors = ("LlavaNextProcessor",)
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {}
    structural: ClassVar[tuple[str, ...]] = (*Llava.structural, "image_grid_pinpoints")

    def image(self, config: PreTrainedConfig, size: Sequence[int], tiled: bool = True) -> TiledImage:
        """The item of an image of (height, width) pixels."""
        return self.cut(self.rule(config), size, tiled)

    def rule(self, config: PreTrainedConfig) -> Anyres:
        """How a configuration has images tiled."""
        pinpoints = tuple((int(y), int(x)) for y, x in config.image_grid_pinpoints)
        return Anyres(self.sides(config)[0], config.vision_config.image_size, pinpoints, self.most(config))

    def most(self, source: Any) -> int | None:
        """Views whose patches the grid is resized to at most, as a configuration or a processor says."""
        return None

    def processor_rule(self, processor: Any, settings: Mapping[str, Any]) -> Anyres:
        """How a processor tiles images."""
        pixels = int(setting(processor, settings, "crop_size")["height"])
        pinpoints = tuple((int(y), int(x)) for y, x in setting(processor, settings, "image_grid_pinpoints"))
        return Anyres(pixels // processor.patch_size, pixels, pinpoints, self.most(processor))

    def cut(self, rule: Anyres, size: Sequence[int], tiled: bool = True) -> TiledImage:
        """The item of an image of (height, width) pixels under a rule."""
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        side = rule.side
        height, width = int(size[0]), int(size[1])
        if not tiled:
            return TiledImage(
                "image", (1, side, side), side**2, (0.0, height / side, width / side), side, size=(height, width)
            )
        tiles = get_anyres_image_grid_shape((height, width), [list(p) for p in rule.pinpoints], rule.pixels)
        rows, columns = tiles[0] * side, tiles[1] * side
        top = left = 0
        # As the model's unpad_image: the longer side fills the grid, half of the rest is cut on either side.
        if width / height > columns / rows:
            top = (rows - int(round(height * (columns / width), 7))) // 2
        else:
            left = (columns - int(round(width * (rows / height), 7))) // 2
        rows, columns = rule.packed(rows - 2 * top, columns - 2 * left)
        item = TiledImage(
            "image",
            (2, rows, columns),
            side**2 + rows * columns,
            (0.0, height / rows, width / columns),
            side,
            tiles,
            top,
            left,
            (height, width),
        )
        return item

    def smaller(self, rule: Anyres, item: TiledImage) -> list[TiledImage]:
        """Items that an image can be resized to, itself first, each at the largest size that has its count."""
        if item.views == 1:
            return [item]
        height, width = item.size
        least = min(1.0, rule.pixels / max(height, width))
        out = {item.count: item}
        for step in range(1, _SCALES + 1):
            scale = least ** (step / _SCALES)
            other = self.cut(rule, (max(1, round(height * scale)), max(1, round(width * scale))))
            if other.count < item.count:
                out.setdefault(other.count, other)
        return list(out.values())

    def shrink(self, config: PreTrainedConfig, items: Sequence[Item], stage: Shrink) -> list[Item]:
        out: list[Item] = []
        for item in items:
            assert isinstance(item, TiledImage)
            sizes = self.smaller(self.rule(config), item)
            chosen = sizes[stage.downsample.choice([size.count for size in sizes], stage.ratio)]
            out.append(replace(chosen, n0=item.count))
        return out

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
        rule = self.processor_rule(processor, settings)
        out, originals = [], []
        for medium, single in zip(media, alone, strict=True):
            frames = frames_of(medium)
            item = self.cut(rule, frames.shape[2:], self.several_tiled or single)
            sizes = self.smaller(rule, item)
            chosen = sizes[stage.downsample.choice([size.count for size in sizes], stage.ratio)]
            out.append(medium if chosen is item else picture(resized(frames, chosen.size)))
            originals.append(Medium(item.grid, item.count, size=item.size))
        return Prepared(out, originals)

    def restored(self, items: Sequence[Item], originals: Sequence[Medium]) -> list[Item]:
        if len(items) != len(originals):
            raise InputsError(f"image: {len(items)} images; other inputs were prepared for the policy")
        return [
            replace(item, n0=original.n0, size=original.size) if isinstance(item, TiledImage) else item
            for item, original in zip(items, originals, strict=True)
        ]

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        sizes = arguments.get("image_sizes")
        if sizes is None:
            raise InputsError("image_sizes: missing; they tell how an image was tiled")
        return [self.image(config, size) for size in torch.as_tensor(sizes).tolist()]

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        sizes = [*config.image_grid_pinpoints, [config.vision_config.image_size] * 2]
        choices = []
        for size in sizes:
            for number in {1, max(1, round(tokens / self.image(config, size, self.several_tiled).slots))}:
                item = self.image(config, size, self.several_tiled or number == 1)
                choices.append((abs(number * item.count - tokens), number, item))
        _, number, item = min(choices, key=lambda choice: choice[:2])
        side, views = config.vision_config.image_size, item.views
        inputs = {
            "pixel_values": torch.randn(
                number, views, config.vision_config.num_channels, side, side, generator=generator
            ),
            "image_sizes": torch.tensor([item.size] * number),
        }
        return Media([config.image_token_id] * (number * item.slots), inputs)

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_sizes"}

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        return super().stem_flops(config, item) * _views(item)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        return super().projector_flops(config, self.tile(config)) * _views(item)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        assert isinstance(item, TiledImage)
        tile, _ = item.tile_of()
        return [(tile == view).nonzero()[:, 0] for view in range(item.views)]

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        rows = self.sides(config)[0] ** 2 + self.class_token
        return [rows - len(units) for units in self.segments(config, item, block)]

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        rows, start = [], 0
        for item in items:
            assert isinstance(item, TiledImage)
            tile, patch = item.tile_of()
            places = self.class_places(config, start + item.views)[start:]
            rows.append(places[tile] + self.class_token + patch)
            start += item.views
        return torch.cat(rows)[:, None]

    def class_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        return self.class_places(config, sum(_views(item) for item in items)) if self.class_token else None

    def chat(self, config: PreTrainedConfig) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        released = {"mistral": _MISTRAL, "qwen2": QWEN_CHAT}.get(config.text_config.model_type)
        if released is None or getattr(config, "chat_marks", None) is not None:
            return super().chat(config)
        return released


def _views(item: Item) -> int:
    return item.views if isinstance(item, TiledImage) else 1
