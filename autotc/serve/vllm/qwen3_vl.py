"""Qwen3-VL under a policy: its deep-stack features stand behind a token's embedding and are reduced with it."""

from __future__ import annotations

from typing import ClassVar

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from autotc.serve.vllm.model import ServedModel
from autotc.serve.vllm.processing import ServedProcessor


class Processor(ServedProcessor, Qwen3VLMultiModalProcessor):  # type: ignore[misc]
    """Its prompts."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder)
class ServedQwen3VL(ServedModel, Qwen3VLForConditionalGeneration):  # type: ignore[misc]
    """`Qwen3VLForConditionalGeneration` with its images and videos reduced."""

    tower: ClassVar[str] = "visual.blocks"
    attention: ClassVar[tuple[str, str]] = ("attn", "qkv")
