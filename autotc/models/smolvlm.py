"""SmolVLM and Idefics3: a SigLIP tower, squares of patches shuffled into one behind it, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from autotc.errors import InputsError, UnsupportedModelError
from autotc.mechanisms import Location, Modality
from autotc.models.base import Depths, Item, Media, TowerShape
from autotc.models.parts import RotaryDecoder, Tiles, child

_CHAT = ((11126, 42), (49279,), (0, 1, 2, 198, 1116, *range(49152, 49280)))
"""SmolVLM's released vocabulary: "User:", <end_of_utterance>, and the template: special tokens, newlines, and the
marks around and between tiles."""


class SmolVLM(Tiles, RotaryDecoder):
    """`SmolVLMForConditionalGeneration` and `Idefics3ForConditionalGeneration`; a token joins a square of patches.

    An item is one tile: ``pixel_values`` does not say which tiles make up a picture, so each keeps its share. Frames of
    a video come as tiles too: there is no modality video. The tower hides patches that are padding from the others;
    their units are tokens all the same. All tiles have the tower's one size, so there is no input stage. Where
    Idefics3's vocabulary is another one, its query is found if the configuration carries ``chat_marks``.
    """

    family = "smolvlm"
    architectures = ("SmolVLMForConditionalGeneration", "Idefics3ForConditionalGeneration")
    locations: ClassVar[Mapping[Modality, tuple[Location, ...]]] = {"image": ("encoder", "projector", "decoder")}
    structural = (
        "text_config.hidden_size", "text_config.num_hidden_layers", "text_config.num_attention_heads",
        "text_config.intermediate_size", "text_config.vocab_size", "vision_config.num_hidden_layers",
        "vision_config.hidden_size", "vision_config.patch_size", "vision_config.image_size", "scale_factor",
    )  # fmt: skip

    def sides(self, config: Any) -> tuple[int, int]:
        patches, unit = config.vision_config.image_size // config.vision_config.patch_size, config.scale_factor
        if patches % unit:
            raise UnsupportedModelError(
                f"smolvlm: scale_factor {unit} given for {patches} x {patches} patches; a divisor of {patches} is right"
            )
        return patches, unit

    def depths(self, config: Any) -> Depths:
        return Depths(config.text_config.num_hidden_layers, {"image": config.vision_config.num_hidden_layers})

    def tower_shape(self, config: Any, modality: Modality) -> TowerShape:
        vision = config.vision_config
        return TowerShape(
            vision.hidden_size, vision.num_attention_heads, vision.intermediate_size, False, vision.num_hidden_layers,
            self.sides(config)[1] ** 2, True,
        )  # fmt: skip

    def projector_flops(self, config: Any, item: Item) -> int:
        unit = self.sides(config)[1] ** 2
        return int(2 * item.count * config.vision_config.hidden_size * unit * config.text_config.hidden_size)

    def language_model(self, model: nn.Module) -> nn.Module:
        return child(self.base(model), "text_model")

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "vision_model.encoder.layers").children())

    def geometry(self, config: Any, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        pixels: Tensor = arguments["pixel_values"]
        size = config.vision_config.image_size
        if tuple(pixels.shape[-2:]) != (size, size):
            raise InputsError(
                f"pixel_values: tiles of {pixels.shape[-2]} x {pixels.shape[-1]} pixels; {size} x {size} are right"
            )
        # Tiles that are all zeros fill up rows with fewer; the model leaves them out, and one in if there is no other.
        real = int((pixels.flatten(0, 1).flatten(1) != 0).any(1).sum())
        return [self.tile(config)] * max(1, real)

    def random_media(self, config: Any, modality: Modality, tokens: int, generator: torch.Generator) -> Media:
        media = super().random_media(config, modality, tokens, generator)
        return Media(media.ids, {"pixel_values": media.inputs["pixel_values"][None]})

    def released_chat(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        return _CHAT
