"""InternVL: a ViT with a class token, squares of patches shuffled into one behind it, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autotc.errors import UnsupportedModelError
from autotc.lazy import PreTrainedConfig, nn
from autotc.models.chat import QWEN_CHAT
from autotc.models.geometry import Item
from autotc.models.media import Tiling, setting
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import Projections, child
from autotc.models.tiled_pictures import TiledPictures, distinct
from autotc.models.tiled_tower import block_of
from autotc.vocabulary import Modality

_CHAT = (QWEN_CHAT[0], QWEN_CHAT[1], (*range(151643, 151675), 198))
"""The vocabulary of Qwen2.5, which InternVL3 extends by <img>, </img>, <IMG_CONTEXT> and the like behind 151664."""


class InternVL(TiledPictures, RotaryDecoder):
    """`InternVLForConditionalGeneration`, as transformers has it; a token joins a square of patches.

    An item is one tile: ``pixel_values`` does not say which tiles make up a picture, so each keeps its share. Frames of
    a video come as tiles too, behind image placeholders: there is no modality video. An input stage makes of a picture
    what the processor would with a smaller ``max_patches``.
    """

    family = "internvl"
    class_token = True
    architectures = ("InternVLForConditionalGeneration",)
    processors = ("InternVLProcessor",)
    structural = (
        "text_config.hidden_size",
        "text_config.num_hidden_layers",
        "text_config.num_attention_heads",
        "text_config.intermediate_size",
        "text_config.vocab_size",
        "vision_config.num_hidden_layers",
        "vision_config.hidden_size",
        "vision_config.patch_size",
        "vision_config.image_size",
        "vision_feature_layer",
        "vision_feature_select_strategy",
        "downsample_ratio",
    )

    def blocks_read(self, config: PreTrainedConfig) -> int:
        """Blocks whose output counts: up to the one that is read.

        Raises:
            UnsupportedModelError: several layers are read, or the class token is a token.
        """
        layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
        if not isinstance(layer, int) or strategy != "default":
            raise UnsupportedModelError(
                f"internvl: vision_feature_layer {layer!r} and vision_feature_select_strategy {strategy!r} given; one"
                " layer and 'default' are right"
            )
        return block_of(layer, config.vision_config.num_hidden_layers)

    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        size, patch = config.vision_config.image_size, config.vision_config.patch_size
        unit = round(1 / config.downsample_ratio)
        if size[0] != size[1] or patch[0] != patch[1] or (size[0] // patch[0]) % unit:
            raise UnsupportedModelError(
                f"internvl: vision_config.image_size {list(size)}, patch_size {list(patch)} and downsample_ratio"
                f" {config.downsample_ratio} given; squares whose patches divide by {unit} are right"
            )
        return size[0] // patch[0], unit

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
        joined = width * self.sides(config)[1] ** 2
        return int(self.unread_flops(config) + 2 * item.count * (joined * text_width + text_width**2))

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        config: Any = model.config
        return list(child(self.base(model), "vision_tower.encoder.layer").children())[: self.blocks_read(config)]

    def block_attention(self, block: nn.Module) -> nn.Module:
        return child(block, "attention")

    def block_projections(self, block: nn.Module) -> Projections:
        attention: Any = self.block_attention(block)
        return Projections(
            attention.q_proj,
            attention.k_proj,
            attention.num_heads,
            attention.num_heads,
            attention.scale,
            norms=(attention.q_norm, attention.k_norm),
            norm_heads=False,
        )

    def tile_tokens(self, processor: Any) -> int:
        return int(processor.image_seq_length)

    def tilings(self, processor: Any, size: tuple[int, int], settings: Mapping[str, Any]) -> list[Tiling]:
        from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

        images: Any = partial(setting, processor, settings)
        tile = (images("size")["height"], images("size")["width"])
        least, most = images("min_patches"), images("max_patches")
        out: list[Tiling] = []
        for limit in range(most if images("crop_to_patches") else 1, 0, -1):
            if limit < least and out:
                break
            across, down = (1, 1) if most == 1 or limit == 1 else get_optimal_tiled_canvas(size, tile, least, limit)
            pixels = (down * tile[0], across * tile[1])
            # Resized to the canvas it must be given this canvas again, also where the same shape has a larger one.
            if out and get_optimal_tiled_canvas(pixels, tile, least, most) != (across, down):
                continue
            tiles = down * across + (down * across > 1)
            out.append(Tiling(tiles, self.structure(processor, tiles, {"num_patches": [tiles]}), pixels))
        return distinct(out)

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
