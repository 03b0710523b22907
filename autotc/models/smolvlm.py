"""SmolVLM and Idefics3: a SigLIP tower, squares of patches shuffled into one behind it, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from autotc.errors import InputsError, UnsupportedModelError
from autotc.lazy import PreTrainedConfig, Tensor, nn, torch
from autotc.models.geometry import Item, Media
from autotc.models.media import Tiling, setting
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import child
from autotc.models.tiled_pictures import TiledPictures, distinct
from autotc.vocabulary import Modality

_CHAT = ((11126, 42), (49279,), (0, 1, 2, 198, 1116, *range(49152, 49280)))
"""SmolVLM's released vocabulary: "User:", <end_of_utterance>, and the template: special tokens, newlines, and the
marks around and between tiles."""


class SmolVLM(TiledPictures, RotaryDecoder):
    """`SmolVLMForConditionalGeneration` and `Idefics3ForConditionalGeneration`; a token joins a square of patches.

    An item is one tile: ``pixel_values`` does not say which tiles make up a picture, so each keeps its share. Frames of
    a video come as tiles too: there is no modality video. The tower hides patches that are padding from the others;
    their units are tokens all the same. An input stage makes of a picture what the processor would with a smaller
    ``size.longest_edge``. Where Idefics3's vocabulary is another one, its query is found if the configuration carries
    ``chat_marks``.
    """

    family = "smolvlm"
    architectures = ("SmolVLMForConditionalGeneration", "Idefics3ForConditionalGeneration")
    processors = ("SmolVLMProcessor", "Idefics3Processor")
    shrunk_settings: ClassVar[Mapping[str, Any]] = {"do_resize": False}
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
        "scale_factor",
    )

    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        patches, unit = config.vision_config.image_size // config.vision_config.patch_size, config.scale_factor
        if patches % unit:
            raise UnsupportedModelError(
                f"smolvlm: scale_factor {unit} given for {patches} x {patches} patches; a divisor of {patches} is right"
            )
        return patches, unit

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        unit = self.sides(config)[1] ** 2
        return int(2 * item.count * config.vision_config.hidden_size * unit * config.text_config.hidden_size)

    def language_model(self, model: nn.Module) -> nn.Module:
        return child(self.base(model), "text_model")

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "vision_model.encoder.layers").children())

    def tile_count(self, config: PreTrainedConfig, arguments: Mapping[str, Any]) -> int:
        pixels: Tensor = arguments["pixel_values"]
        size = config.vision_config.image_size
        if tuple(pixels.shape[-2:]) != (size, size):
            raise InputsError(
                f"pixel_values: tiles of {pixels.shape[-2]} x {pixels.shape[-1]} pixels; {size} x {size} are right"
            )
        # Tiles that are all zeros fill up rows with fewer; the model leaves them out, and one in if there is no other.
        real = int((pixels.flatten(0, 1).flatten(1) != 0).any(1).sum())
        return max(1, real)

    def tile_tokens(self, processor: Any) -> int:
        return int(processor.image_seq_len)

    def tilings(self, processor: Any, size: tuple[int, int], settings: Mapping[str, Any]) -> list[Tiling]:
        images: Any = partial(setting, processor, settings)
        tile, longest = images("max_image_size")["longest_edge"], images("size")["longest_edge"]
        split = images("do_image_splitting")
        shorter = range((longest - 1) // tile * tile, tile - 1, -tile)
        out = []
        for edge in (longest, *shorter) if split else (tile,):
            down, across = _tiles(size, edge, tile)
            tiles = down * across + 1 if down * across > 1 else 1
            made = {"rows": [[down if tiles > 1 else 0]], "cols": [[across if tiles > 1 else 0]]}
            out.append(Tiling(tiles, self.structure(processor, tiles, made), (down * tile, across * tile)))
        return distinct(out)

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        media = super().random_media(config, modality, tokens, generator)
        return Media(media.ids, {"pixel_values": media.inputs["pixel_values"][None]})

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT


def _tiles(size: tuple[int, int], longest: int, tile: int) -> tuple[int, int]:
    """Rows and columns of tiles that the processors cut a picture into, by their two resizes.

    Args:
        size: (height, width) of the picture in pixels.
        longest: what its longer edge is resized to first.
        tile: side of a tile.
    """
    aspect = size[1] / size[0]
    # As the processors: whole pixels, an even shorter edge, then up to whole tiles along the longer edge first.
    long, short = longest, max(1, int(longest / aspect) if aspect >= 1 else int(longest * aspect))
    short += short % 2
    aspect = long / short
    long = -(-long // tile) * tile
    down, across = -(-int(long / aspect) // tile), long // tile
    return (down, across) if size[1] >= size[0] else (across, down)
