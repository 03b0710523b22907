"""LLaVA-OneVision under a policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, cast

from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from autotc.models import Item
from autotc.models.llava_onevision import LlavaOnevision
from autotc.serve.vllm.model import ServedModel, SingleRow
from autotc.serve.vllm.processing import ServedProcessor, given, restored
from autotc.serve.vllm.serving import Serving
from autotc.vocabulary import Modality

if TYPE_CHECKING:
    from vllm.multimodal.inputs import NestedTensors


class Tiles:
    """Its items: vLLM cuts every image into tiles, also where a prompt has several."""

    serving: Serving

    def items(self, modality: Modality, fields: Mapping[str, NestedTensors]) -> list[Item]:
        """Geometry of a batch's items, from the model's arguments for them."""
        bound = self.serving.bound
        adapter = cast(LlavaOnevision, bound.adapter)
        if modality == "video":
            clips = given(fields, modality, "pixel_values_videos")
            items = [adapter.geometry(bound.config, "video", {"pixel_values_videos": c[None]})[0] for c in clips]
        else:
            tiles, sizes = given(fields, modality, "pixel_values"), given(fields, modality, "image_sizes")
            images = zip(tiles, sizes, strict=True)
            items = [adapter.image(bound.config, size.tolist(), len(views) > 1) for views, size in images]
        return restored(self.serving, items, fields)


class Processor(Tiles, ServedProcessor, LlavaOnevisionMultiModalProcessor):  # type: ignore[misc]
    """Its prompts."""

    def stretch(self, item: Item, ids: list[int]) -> list[int]:
        # vLLM counts the placeholders of the medium that it was given, before an input stage has made it smaller.
        return ids[:1] * item.slots if item.modality in self.serving.shrinks else ids


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=LlavaOnevisionProcessingInfo, dummy_inputs=LlavaOnevisionDummyInputsBuilder
)
class ServedLlavaOnevision(Tiles, SingleRow, ServedModel, LlavaOnevisionForConditionalGeneration):  # type: ignore[misc]
    """`LlavaOnevisionForConditionalGeneration` with its images and videos reduced."""

    tower: ClassVar[str] = "vision_tower.vision_model.encoder.layers"
    attention: ClassVar[tuple[str, str]] = ("self_attn", "qkv_proj")
