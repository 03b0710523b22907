"""VideoLLaMA 3: a tower over patches of any resolution, averaged 2 x 2 in videos, and a rotary decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from autotc.depths import Depths
from autotc.errors import InputsError
from autotc.lazy import PreTrainedConfig, nn, torch
from autotc.models.fingerprint import TEXT_FIELDS
from autotc.models.geometry import Item, Media
from autotc.models.qwen2_vl import Qwen2VL
from autotc.models.shapes import Projections, TowerShape, child, plain_projections
from autotc.versions import TRIED_SINCE
from autotc.vocabulary import Modality

_MERGES: Mapping[Modality, int] = {"image": 1, "video": 2}
"""Side of the squares of patches that make up a token, as its processors have it; the configuration does not say."""


class VideoLlama3(Qwen2VL):
    """`VideoLlama3ForConditionalGeneration`.

    Frames of a video stand apart, behind their time. What its processor leaves out of a video of its own accord
    (``use_token_compression``) has no grid any more: it is switched off, since frames that are alike are a mechanism's
    matter.
    """

    family = "video_llama_3"
    since: ClassVar[str | None] = TRIED_SINCE
    frames_apart = True
    video_as_images = True
    architectures = ("VideoLlama3ForConditionalGeneration",)
    processors: ClassVar[tuple[str, ...]] = ("VideoLlama3Processor",)
    structural: ClassVar[tuple[str, ...]] = (
        *TEXT_FIELDS,
        "vision_config.num_hidden_layers",
        "vision_config.hidden_size",
        "vision_config.intermediate_size",
        "vision_config.patch_size",
    )

    def depths(self, config: PreTrainedConfig) -> Depths:
        blocks = config.vision_config.num_hidden_layers
        return Depths(config.text_config.num_hidden_layers, {"image": blocks, "video": blocks})

    def merge(self, config: PreTrainedConfig, modality: Modality) -> int:
        return _MERGES[modality]

    def patch_values(self, config: PreTrainedConfig) -> int:
        return int(config.vision_config.num_channels * config.vision_config.patch_size**2)

    def tower_shape(self, config: PreTrainedConfig, modality: Modality) -> TowerShape:
        vision = config.vision_config
        blocks, unit = vision.num_hidden_layers, self.merge(config, modality) ** 2
        return TowerShape(vision.hidden_size, vision.num_attention_heads, vision.intermediate_size, False, blocks, unit)

    def projector_flops(self, config: PreTrainedConfig, item: Item) -> int:
        width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
        return int(2 * item.count * (width * text_width + text_width**2))

    def blocks(self, model: nn.Module, modality: Modality) -> Sequence[nn.Module]:
        return list(child(self.base(model), "vision_model.encoder.layers").children())

    def block_projections(self, block: nn.Module) -> Projections:
        return plain_projections(child(block, "self_attn"))

    def geometry(self, config: PreTrainedConfig, modality: Modality, arguments: Mapping[str, Any]) -> list[Item]:
        merges, name = arguments.get(f"{modality}_merge_sizes"), f"{modality}_merge_sizes"
        if merges is not None and bool((merges != _MERGES[modality]).any()):
            raise InputsError(f"{name}: {merges.tolist()} given; {_MERGES[modality]} is right for {modality}")
        mask = arguments.get("video_compression_mask")
        if modality == "video" and mask is not None and not bool(mask.all()):
            raise InputsError(
                "video_compression_mask: the processor has left tokens out; call it with use_token_compression=False"
            )
        return super().geometry(config, modality, arguments)

    def random_media(
        self, config: PreTrainedConfig, modality: Modality, tokens: int, generator: torch.Generator
    ) -> Media:
        media = super().random_media(config, modality, tokens, generator)
        return Media(media.ids, media.inputs | {f"{modality}_merge_sizes": torch.tensor([_MERGES[modality]])})

    def video_settings(self, processor: Any) -> Mapping[str, object]:
        return {"use_token_compression": False}
