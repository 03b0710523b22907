"""LLaVA-1.5 under a policy."""

from __future__ import annotations

from typing import ClassVar

from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
    LlavaProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from autotc.serve.vllm.model import ServedModel, SingleRow
from autotc.serve.vllm.processing import ServedProcessor


class Processor(ServedProcessor, LlavaMultiModalProcessor):  # type: ignore[misc]
    """Its prompts."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=LlavaProcessingInfo, dummy_inputs=LlavaDummyInputsBuilder)
class ServedLlava(SingleRow, ServedModel, LlavaForConditionalGeneration):  # type: ignore[misc]
    """`LlavaForConditionalGeneration` with its images reduced."""

    tower: ClassVar[str] = "vision_tower.vision_model.encoder.layers"
    attention: ClassVar[tuple[str, str]] = ("self_attn", "qkv_proj")
