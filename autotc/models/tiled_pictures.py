"""Families whose processors cut a picture into tiles, and whose models are not told which tiles make up a picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig
from autotc.models.geometry import Item, spread
from autotc.models.media import Medium, Prepared, Shrink, Tiling, frames_of, marked, picture, resized
from autotc.models.tiled_tower import TiledTower
from autotc.vocabulary import Modality


@dataclass(frozen=True)
class Tile(Item):
    """A tile; the first one of a picture knows of the picture, where the processor was called by `autotc`.

    Attributes:
        tilings: what the processor can make of its picture, the uncompressed form first.
        marks: tokens of the prompt that stand for the picture and are none of its tiles'.
    """

    tilings: tuple[Tiling, ...] = ()
    marks: int = 0

    @property
    def structure(self) -> int:
        return self.marks


class TiledPictures(TiledTower):
    """Towers as of `TiledTower`; an input stage leaves a picture fewer tiles, by its processor's own rule.

    Class attributes:
        shrunk_settings: of the processor, where an input stage has resized the pictures.
    """

    shrunk_settings: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def tilings(self, processor: Any, size: tuple[int, int], settings: Mapping[str, Any]) -> list[Tiling]:
        """What the processor can make of a picture of (height, width) pixels, the uncompressed form first."""

    @abstractmethod
    def tile_tokens(self, processor: Any) -> int:
        """Tokens of a tile, as the processor writes them."""

    def tile_count(self, config: PreTrainedConfig, arguments: Mapping[str, Any]) -> int:
        """Tiles of a request."""
        return int(arguments["pixel_values"].shape[0])

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        tile, count = self.tile(config), self.tile_count(config, arguments)
        media = marked(arguments["pixel_values"])
        if media is None or sum(medium.items for medium in media) != count:
            return [tile] * count
        out: list[Item] = []
        for medium in media:
            tiling = next(tiling for tiling in medium.tilings if tiling.tiles == medium.items)
            first = Tile(tile.modality, tile.grid, tile.n0, tile.extent, medium.tilings, tiling.structure)
            out += [first, *[replace(first, tilings=(), marks=0)] * (medium.items - 1)]
        return out

    def structure(self, processor: Any, tiles: int, made: Mapping[str, Any]) -> int:
        """Tokens of the prompt that stand for a picture of so many tiles and are none of theirs.

        Args:
            processor: whose words are counted.
            tiles: of the picture.
            made: what the image processor would have returned of it.
        """
        text = processor.replace_image_token(made, 0)
        return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) - tiles * self.tile_tokens(
            processor
        )

    def shrink(self, config: PreTrainedConfig, items: Sequence[Item], stage: Shrink) -> list[Item]:
        out: list[Item] = []
        start = 0
        while start < len(items):
            first = items[start]
            if not isinstance(first, Tile) or not first.tilings:
                raise InputsError(
                    f"image: {self.family}'s inputs do not tell which tiles were cut from one picture, which an input"
                    " stage must know; prepare them by autotc.runtime.processor.tracked(processor)"
                )
            tilings = first.tilings
            pick = stage.downsample.choice([tiling.tiles * first.count for tiling in tilings], stage.ratio)
            if pick == 0:
                out += items[start : start + tilings[0].tiles]
            else:
                counts = spread(tilings[0].tiles * first.count, [1] * tilings[pick].tiles)
                tiles = [replace(first, n0=n0, tilings=(), marks=0) for n0 in counts]
                out += [replace(tiles[0], marks=tilings[pick].structure), *tiles[1:]]
            start += tilings[0].tiles
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
        each = self.tile_tokens(processor)
        chosen, originals = [], []
        for medium in media:
            frames = frames_of(medium)
            tilings = self.tilings(processor, (frames.shape[2], frames.shape[3]), settings)
            pick = (
                0
                if stage is None
                else stage.downsample.choice([tiling.tiles * each for tiling in tilings], stage.ratio)
            )
            whole = tilings[0].tiles
            originals.append(Medium((whole, 1, each), whole * each, tilings[pick].tiles, tilings=tuple(tilings)))
            chosen.append((medium, frames, tilings[pick], pick > 0))
        if not any(shrunk for *_, shrunk in chosen):
            return Prepared(list(media), originals)
        out = [
            picture(resized(frames, tiling.size)) if shrunk or self.shrunk_settings else medium
            for medium, frames, tiling, shrunk in chosen
        ]
        return Prepared(out, originals, dict(self.shrunk_settings))

    def restored(self, items: Sequence[Item], originals: Sequence[Medium]) -> list[Item]:
        if len(items) != sum(original.items for original in originals):
            raise InputsError(f"image: {len(items)} tiles; other inputs were prepared for the policy")
        out: list[Item] = []
        for original in originals:
            counts = spread(original.n0, [1] * original.items)
            out += [replace(item, n0=n0) for item, n0 in zip(items[len(out) :], counts, strict=False)]
        return out


def distinct(tilings: Sequence[Tiling]) -> list[Tiling]:
    """Of tilings with equally many tiles the first, none with more than the first of all."""
    out = {tiling.tiles: tiling for tiling in reversed(tilings) if tiling.tiles <= tilings[0].tiles}
    out[tilings[0].tiles] = tilings[0]
    return sorted(out.values(), key=lambda tiling: -tiling.tiles)
