"""Mistral Small 3 and Ministral 3: a Pixtral tower over pictures of any size, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError, UnsupportedModelError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item, Media, square_rows
from autotc.models.media import Medium, Prepared, Shrink, frames_of, picture, resized, setting
from autotc.models.random_media import nearest_grid
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import Projections, TowerShape, child, plain_projections
from autotc.models.tiled_tower import block_of
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Modality

_CHAT = ((3,), (4,), tuple(range(1000)))
"""Mistral's released vocabulary: [INST], [/INST], and the template: all of its special tokens."""
_BREAK, _END = 12, 13
"""Marks behind each row of a picture's tokens, and behind the last, in that vocabulary."""


@dataclass(frozen=True)
class Rows(Item):
    """A picture with a mark behind each row of its tokens."""

    @property
    def structure(self) -> int:
        return self.grid[1]


class Mistral3(RotaryDecoder):
    """`Mistral3ForConditionalGeneration`; a token joins a square of patches.

    The tower takes all pictures as one sequence, in which each sees itself. Ministral 3 scales queries behind position
    16,384 by the logarithm of their position; attention scores are read without that.
    """

    family = "mistral3"
    since: ClassVar[str | None] = TRIED_SINCE
    architectures = ("Mistral3ForConditionalGeneration",)
    processors = ("PixtralProcessor",)
    structural = (
        *TEXT_FIELDS,
        "text_config.head_dim",
        "vision_config.num_hidden_layers",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.patch_size",
        "vision_feature_layer",
        "spatial_merge_size",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        read, blocks = self._blocks_read(config), config.vision_config.num_hidden_layers
        unread = {"image": blocks - read} if blocks > read else {}
        return Depths(config.text_config.num_hidden_layers, {"image": read}, unread)

    @staticmethod
    def _blocks_read(config: PreTrainedConfig) -> int:
        layer = config.vision_feature_layer
        if not isinstance(layer, int):
            raise UnsupportedModelError(f"mistral3: vision_feature_layer {layer!r} given; one layer is right")
        return block_of(layer, config.vision_config.num_hidden_layers)

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        unit = config.spatial_merge_size**2
        return TowerShape(
            vision.hidden_size,
            vision.num_attention_heads,
            vision.intermediate_size,
            True,
            self._blocks_read(config),
            unit,
        )

    def stem_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision = config.vision_config
        patch = vision.num_channels * vision.patch_size**2
        return int(2 * item.count * config.spatial_merge_size**2 * patch * vision.hidden_size)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
        joined = config.spatial_merge_size**2 * width**2
        unread = config.vision_config.num_hidden_layers - self._blocks_read(config)
        rows = item.count * config.spatial_merge_size**2
        block = 2 * rows * (4 * width**2 + 3 * width * config.vision_config.intermediate_size) + 4 * width * rows**2
        return int(unread * block + 2 * item.count * (joined + width * text_width + text_width**2))

    def segments(self, config: PreTrainedConfig, item: Item, block: int) -> Sequence[Tensor]:
        return (torch.arange(item.count),)

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        config: Any = model.config
        layers = list(child(self.base(model), "vision_tower.transformer.layers").children())
        return layers[: self._blocks_read(config)]

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(child(block, "attention"))

    def rotate_block(self, query: Tensor, key: Tensor, position_embeddings: Any) -> tuple[Tensor, Tensor]:
        from transformers.models.pixtral.modeling_pixtral import apply_rotary_pos_emb

        cos, sin = position_embeddings
        out: tuple[Tensor, Tensor] = apply_rotary_pos_emb(query, key, cos, sin)
        return out

    def feature_methods(self) -> Mapping[Modality, str]:
        return {"image": "get_image_features"}

    def shape_inputs(self) -> Mapping[Modality, str]:
        return {"image": "image_sizes"}

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        sizes = arguments.get("image_sizes")
        if sizes is None:
            raise InputsError("image_sizes: missing; pictures need them to know how large each is")
        side = config.vision_config.patch_size * config.spatial_merge_size
        out: list[Item] = []
        for height, width in torch.as_tensor(sizes).tolist():
            if height % side or width % side:
                raise InputsError(f"image_sizes: {height} x {width} pixels given; multiples of {side} are right")
            grid = (1, height // side, width // side)
            out.append(Rows("image", grid, grid[1] * grid[2], (0.0, float(side), float(side))))
        return out

    def unit_rows(self, config: PreTrainedConfig, modality: Modality, items: Sequence[Item]) -> Tensor:
        return square_rows([item.grid[1:] for item in items], config.spatial_merge_size)

    def placeholders(self, config: PreTrainedConfig) -> Mapping[Modality, int]:
        return {"image": config.image_token_id}

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        y, x = nearest_grid(tokens)
        side = config.vision_config.patch_size * config.spatial_merge_size
        pixels = torch.randn(1, config.vision_config.num_channels, y * side, x * side, generator=generator)
        row = [self.placeholders(config)["image"]] * x
        ids = [*([*row, _BREAK] * (y - 1)), *row, _END]
        return Media(ids, {"pixel_values": pixels, "image_sizes": torch.tensor([[y * side, x * side]])})

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
        side = processor.patch_size * processor.spatial_merge_size
        size = dict(setting(processor, settings, "size"))
        out, originals = [], []
        for medium in media:
            made = processor.image_processor(images=[medium], size=size, patch_size=side, return_tensors="pt")
            height, width = made["image_sizes"][0].tolist()
            grid = (1, height // side, width // side)
            _, rows, columns = stage.downsample.target_grid(grid, stage.ratio, modality)
            out.append(picture(resized(frames_of(medium), (rows * side, columns * side))))
            originals.append(Medium(grid, grid[1] * grid[2]))
        return Prepared(out, originals, {"size": {"longest_edge": 1 << 20}})

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
