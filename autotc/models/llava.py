"""LLaVA-1.5: a CLIP tower with a class token, read before its end, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.errors import UnsupportedModelError
from autotc.lazy import PreTrainedConfig, nn
from autotc.mechanisms import Score
from autotc.models.geometry import Item
from autotc.models.rotary import RotaryDecoder
from autotc.models.shapes import child
from autotc.models.tiled_tower import TiledTower, block_of
from autotc.vocabulary import Location, Modality

_VICUNA = ((3148, 1001, 29901), (319, 1799, 9047, 13566, 29901), (1, 2, 13, 29871))
"""Vicuna's released vocabulary: "USER:", "ASSISTANT:", and the template: start, end, newline and blank."""


class Llava(TiledTower, RotaryDecoder):
    """`LlavaForConditionalGeneration` with a CLIP tower, all of whose patches are tokens of the language model.

    Encoder stages act up to the block whose output is read (``vision_feature_layer``); blocks behind it still run.
    """

    family = "llava"
    class_token = True
    architectures = ("LlavaForConditionalGeneration",)
    processors: ClassVar[tuple[str, ...]] = ("LlavaProcessor",)
    refused: ClassVar[Mapping[Modality, Mapping[Location, str]]] = {
        "image": {"input": "every image is brought to the tower's one size, whatever its own"}
    }
    structural: ClassVar[tuple[str, ...]] = (
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
    )

    def blocks_read(self, config: PreTrainedConfig) -> int:
        """Blocks whose output counts: up to the one that is read.

        Raises:
            UnsupportedModelError: several layers are read, the class token is a token, or the tower is not CLIP's.
        """
        layer, strategy = config.vision_feature_layer, config.vision_feature_select_strategy
        if (
            not isinstance(layer, int)
            or strategy != "default"
            or config.vision_config.model_type != "clip_vision_model"
        ):
            raise UnsupportedModelError(
                f"{self.family}: vision_feature_layer {layer!r}, vision_feature_select_strategy {strategy!r} and a"
                f" tower {config.vision_config.model_type} given; one layer, 'default' and clip_vision_model are right"
            )
        return block_of(layer, config.vision_config.num_hidden_layers)

    def score_block(self, config: PreTrainedConfig, modality: Modality, need: Score) -> int:
        # As the methods published for this tower do: the next to last of all its blocks, also where the last is not
        # read, and 9 of 24 (HiPrune's object layer, counted from 1) for the middle.
        blocks: int = config.vision_config.num_hidden_layers
        if need == "middle_attention":
            return max(0, 9 * blocks // 24 - 1)
        return max(0, min(self.blocks_read(config) - 1, blocks - 2))

    def sides(self, config: PreTrainedConfig) -> tuple[int, int]:
        return config.vision_config.image_size // config.vision_config.patch_size, 1

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
        return int(self.unread_flops(config) + 2 * item.count * (width * text_width + text_width**2))

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        config: Any = model.config
        return list(child(self.base(model), "vision_tower.encoder.layers").children())[: self.blocks_read(config)]

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _VICUNA
