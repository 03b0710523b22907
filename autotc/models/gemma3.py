"""Gemma 3: a SigLIP tower, squares of patches pooled behind it, and a decoder that mixes windowed and full layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autotc.errors import UnsupportedModelError
from autotc.lazy import PreTrainedConfig, Tensor, nn
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item
from autotc.models.media import Tiling, setting
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import child
from autotc.models.tiled_pictures import TiledPictures
from autotc.models.tiled_tower import pooling_head_flops
from autotc.vocabulary import Modality

_GEMMA_CHAT = ((105, 2364, 107), (106,), (0, 1, 2, 105, 106, 107, 108, 255999, 256000))
"""Gemma 3's released vocabulary: <start_of_turn>user and a newline, <end_of_turn>, and the template: padding, end and
start of the sequence, the turns' marks, one and two newlines, start and end of an image. Its template writes the
system's words into the user's first turn, so there they count as the user's."""


class Gemma3(TiledPictures, RotaryDecoder):
    """`Gemma3ForConditionalGeneration`; a unit is the square of patches that average pooling joins into a token.

    All images have the tower's one size. Crops that the processor adds where it is asked to (``do_pan_and_scan``) are
    images of their own: the model is not told which image they were cut from. An input stage leaves fewer crops;
    without pan and scan there is nothing to leave out, and pictures pass untouched. An image's tokens see each other in
    both directions where the processor's ``token_type_ids`` say that they are an image.
    """

    family = "gemma3"
    architectures = ("Gemma3ForConditionalGeneration",)
    processors = ("Gemma3Processor",)
    structural = (
        *TEXT_FIELDS,
        "text_config.head_dim",
        "text_config.layer_types",
        "text_config.sliding_window",
        "vision_config.num_hidden_layers",
        "vision_config.hidden_size",
        "vision_config.patch_size",
        "vision_config.image_size",
        "mm_tokens_per_image",
    )

    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        vision, tokens = config.vision_config, config.mm_tokens_per_image
        if vision.model_type != "siglip_vision_model":
            raise UnsupportedModelError(
                f"gemma3: vision_config.model_type {vision.model_type!r} given; 'siglip_vision_model' is right"
            )
        if config.text_config.use_bidirectional_attention:
            raise UnsupportedModelError("gemma3: text_config.use_bidirectional_attention True given; False is right")
        patches = vision.image_size // vision.patch_size
        unit = patches // int(tokens**0.5) if tokens else 0
        if not unit or (patches // unit) ** 2 != tokens:
            raise UnsupportedModelError(
                f"gemma3: mm_tokens_per_image {tokens} given; squares of patches of the {patches} x {patches} in an"
                " image do not pool to that many"
            )
        return patches, unit

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        vision = config.vision_config
        head = pooling_head_flops(vision, self.sides(config)[0] ** 2)
        return int(head + 2 * item.count * vision.hidden_size * config.text_config.hidden_size)

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "vision_tower.encoder.layers").children())

    def blocks_seen_whole(self, config: PreTrainedConfig, arguments: Mapping[str, Any]) -> Tensor | None:
        from transformers.models.gemma3.modeling_gemma3 import get_block_sequence_ids_for_mask

        kinds = arguments.get("token_type_ids")
        if kinds is None:
            return None
        blocks: Tensor = get_block_sequence_ids_for_mask(kinds.cpu())
        return blocks

    def tile_tokens(self, processor: Any) -> int:
        return int(processor.image_seq_length)

    def tilings(self, processor: Any, size: tuple[int, int], settings: Mapping[str, Any]) -> list[Tiling]:
        images: Any = partial(setting, processor, settings)
        crops, smallest = 0, images("pan_and_scan_min_crop_size")
        long, short = max(size), min(size)
        if images("do_pan_and_scan") and long / short >= images("pan_and_scan_min_ratio_to_activate"):
            most = images("pan_and_scan_max_num_crops")
            crops = min(most, max(2, min(long // smallest, int(long / short + 0.5))))
            crops = crops if min(-(-long // crops), short) >= smallest else 0
        side = max(images("size")["height"], smallest)
        out = []
        for count in (*range(crops, 1, -1), 0):
            # Squares along the longer edge are the crops, and nothing else, of a picture of so many squares.
            pixels = (side, side * max(1, count)) if size[1] >= size[0] else (side * max(1, count), side)
            made = {"num_crops": [count]}
            out.append(Tiling(1 + count, self.structure(processor, 1 + count, made), pixels))
        return out

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _GEMMA_CHAT
