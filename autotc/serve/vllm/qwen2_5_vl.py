"""Qwen2.5-VL under a policy."""

from __future__ import annotations

from typing import ClassVar

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from autotc.serve.vllm.model import ServedModel
from autotc.serve.vllm.processing import ServedProcessor


class Processor(ServedProcessor, Qwen2_5_VLMultiModalProcessor):  # type: ignore[misc]
    """Its prompts."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class ServedQwen25VL(ServedModel, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]
    """`Qwen2_5_VLForConditionalGeneration` with its images and videos reduced."""

    tower: ClassVar[str] = "visual.blocks"
    attention: ClassVar[tuple[str, str]] = ("attn", "qkv")
