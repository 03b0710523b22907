"""Vision towers that take a batch of square images of one size."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.adapter import Adapter
from autotc.models.geometry import Item, Media
from autotc.models.random_media import marks
from autotc.models.shapes import Projections, TowerShape, child, plain_projections
from autotc.vocabulary import Modality


class TiledTower(Adapter):
    """Vision towers that take a batch of square images of one size: an item is one tile, a unit a square of patches.

    Class attributes:
        class_token: whether a class token stands in front of a tile's patches.
    """

    class_token: ClassVar[bool] = False

    @abstractmethod
    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        """Patches along a side of a tile, and along a side of a unit.

        Raises:
            UnsupportedModelError: a configuration that the adapter does not understand.
        """

    def blocks_read(self, config: PreTrainedConfig) -> int:
        """Blocks of the tower up to the one whose output is read.

        Raises:
            UnsupportedModelError: a configuration that the adapter does not understand.
        """
        return int(config.vision_config.num_hidden_layers)

    def depths(self, config: PreTrainedConfig) -> Depths:
        self.sides(config)  # a configuration that the adapter does not understand is refused here
        read = self.blocks_read(config)
        unread = config.vision_config.num_hidden_layers - read
        return Depths(config.text_config.num_hidden_layers, {"image": read}, {"image": unread} if unread else {})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        return TowerShape(
            width=vision.hidden_size,
            heads=vision.num_attention_heads,
            hidden=vision.intermediate_size,
            gated=False,
            blocks=self.blocks_read(config),
            unit=self.sides(config)[1] ** 2,
            tiled=True,
        )

    def unread_flops(self, config: PreTrainedConfig) -> int:
        """FLOPs on one tile of the blocks behind the one that is read: they run all the same."""
        vision, width = config.vision_config, config.vision_config.hidden_size
        rows = self.sides(config)[0] ** 2 + self.class_token
        block = 2 * rows * (4 * width**2 + 2 * width * vision.intermediate_size) + 4 * width * rows**2
        return int((vision.num_hidden_layers - self.blocks_read(config)) * block)

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision = config.vision_config
        patch = vision.num_channels * _side(vision.patch_size) ** 2
        return int(2 * self.sides(config)[0] ** 2 * patch * vision.hidden_size)

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return (torch.arange(item.count),)

    def spare_rows(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[int]:
        patches, unit = self.sides(config)
        return (patches**2 - item.count * unit**2 + self.class_token,)  # what squares do not cover, and the class token

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(self.block_attention(block))

    def block_attention(self, block: nn.Module) -> nn.Module:
        return child(block, "self_attn")

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: object) -> tuple[Tensor, Tensor]:
        return query, key

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "pixel_values"}

    def tile(self, config: PreTrainedConfig) -> Item:
        """The item that one tile is."""
        patches, unit = self.sides(config)
        side, pixels = patches // unit, float(unit * _side(config.vision_config.patch_size))
        return Item("image", (1, side, side), side * side, (0.0, pixels, pixels))

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        return [self.tile(config)] * int(arguments["pixel_values"].shape[0])

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        patches, unit = self.sides(config)
        side = patches // unit * unit
        rows = torch.arange(patches**2).view(patches, patches)[:side, :side]
        squares = rows.unfold(0, unit, unit).unfold(1, unit, unit).reshape(-1, unit**2) + self.class_token
        return (self.class_places(config, len(items))[:, None, None] + squares).reshape(-1, unit**2)

    def class_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor | None:
        return self.class_places(config, len(items)) if self.class_token else None

    def class_places(self, config: PreTrainedConfig, tiles: int) -> Tensor:
        """(tiles,) long: first row of each tile."""
        return torch.arange(tiles) * (self.sides(config)[0] ** 2 + self.class_token)

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        each = self.tile(config).count
        tiles = max(1, round(tokens / each))
        vision = config.vision_config
        side = _side(vision.image_size)
        pixels = torch.randn(tiles, vision.num_channels, side, side, generator=generator)
        image = [*marks(config, "boi_token_index"), *[self.placeholders(config)["image"]] * each]
        return Media([*image, *marks(config, "eoi_token_index")] * tiles, {"pixel_values": pixels})


def _side(size: Any) -> int:
    """A side in pixels of what a configuration gives as one number or as (height, width)."""
    return int(size[0] if isinstance(size, Sequence) else size)


def pooling_head_flops(vision: Any, rows: int) -> int:
    """FLOPs of SigLIP's head on a tile: a probe's attention to all patches and an MLP on it, which is not read."""
    if not getattr(vision, "vision_use_head", True):
        return 0
    width = vision.hidden_size
    return int(2 * (2 * rows + 2) * width**2 + 4 * rows * width + 4 * width * vision.intermediate_size)


def block_of(layer: int, blocks: int) -> int:
    """Number of blocks up to the one that ``vision_feature_layer`` names: 0 is the embeddings, -1 the last block."""
    return layer if layer >= 0 else blocks + 1 + layer
