"""InternVL: a ViT with a class token, squares of patches shuffled into one behind it, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autotc.depths import Depths
from autotc.errors import UnsupportedModelError
from autotc.lazy import PreTrainedConfig, nn
from autotc.models.chat import QWEN_CHAT
from autotc.models.cut import Cut, distinct
from autotc.models.geometry import Item
from autotc.models.media import Way, setting
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import Projections, TowerShape, child
from autotc.vocabulary import Modality

_CHAT = (QWEN_CHAT[0], QWEN_CHAT[1], (*range(151643, 151675), 198))
"""The vocabulary of Qwen2.5, which InternVL3 extends by <img>, </img>, <IMG_CONTEXT> and the like behind 151664."""


class InternVL(Cut, RotaryDecoder):
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

    def _used(self, config: PreTrainedConfig) -> int:
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
        blocks: int = config.vision_config.num_hidden_layers
        return layer if layer >= 0 else blocks + 1 + layer

    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        size, patch = config.vision_config.image_size, config.vision_config.patch_size
        unit = round(1 / config.downsample_ratio)
        if size[0] != size[1] or patch[0] != patch[1] or (size[0] // patch[0]) % unit:
            raise UnsupportedModelError(
                f"internvl: vision_config.image_size {list(size)}, patch_size {list(patch)} and downsample_ratio"
                f" {config.downsample_ratio} given; squares whose patches divide by {unit} are right"
            )
        return size[0] // patch[0], unit

    def depths(self, config: PreTrainedConfig) -> Depths:
        used = self._used(config)
        unread = config.vision_config.num_hidden_layers - used
        return Depths(config.text_config.num_hidden_layers, {"image": used}, {"image": unread})

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        return TowerShape(
            vision.hidden_size,
            vision.num_attention_heads,
            vision.intermediate_size,
            False,
            self._used(config),
            self.sides(config)[1] ** 2,
            True,
        )

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision, text = config.vision_config, config.text_config
        patches, unit = self.sides(config)
        rows, width = patches**2 + 1, vision.hidden_size
        tail = 2 * rows * (4 * width**2 + 2 * width * vision.intermediate_size) + 4 * width * rows**2
        behind = (vision.num_hidden_layers - self._used(config)) * tail
        return int(behind + 2 * item.count * (width * unit**2 * text.hidden_size + text.hidden_size**2))

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        config: PreTrainedConfig = model.config
        return list(child(self.base(model), "vision_tower.encoder.layer").children())[: self._used(config)]

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

    def ways(self, processor: Any, size: tuple[int, int], settings: Mapping[str, Any]) -> list[Way]:
        from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

        images: Any = partial(setting, processor, settings)
        tile = (images("size")["height"], images("size")["width"])
        least, most = images("min_patches"), images("max_patches")
        out: list[Way] = []
        for limit in range(most if images("crop_to_patches") else 1, 0, -1):
            if limit < least and out:
                break
            across, down = (1, 1) if most == 1 or limit == 1 else get_optimal_tiled_canvas(size, tile, least, limit)
            pixels = (down * tile[0], across * tile[1])
            # Resized to the canvas it must be given this canvas again, also where the same shape has a larger one.
            if out and get_optimal_tiled_canvas(pixels, tile, least, most) != (across, down):
                continue
            tiles = down * across + (down * across > 1)
            out.append(Way(tiles, self.structure(processor, tiles, {"num_patches": [tiles]}), pixels))
        return distinct(out)

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
