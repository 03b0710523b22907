"""Checkpoints that an engine loads: tiny models with random weights, whose attention heads it has kernels for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.models import checkpoints
from tests.models.building import MARKS, TEXT_MODEL, seeded
from tests.models.families_qwen import DEEP
from tests.models.families_tiled import PINPOINTS, VISION

TEXT = {**TEXT_MODEL, "hidden_size": 128, "intermediate_size": 256, "max_position_embeddings": 4096}
"""Of the language models: four heads of 32."""


def qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]}
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope},
        vision_config={
            "depth": 3, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "patch_size": 4,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "out_hidden_size": 128,
            "fullatt_block_indexes": [1], "in_channels": 3, "tokens_per_second": 1,
        },
        image_token_id=9, video_token_id=10, vision_start_token_id=7, vision_end_token_id=8,
    )  # fmt: skip
    return config, Qwen2_5_VLForConditionalGeneration


def qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    vision = {**DEEP, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 128}
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 32, "rope_parameters": rope}, vision_config=vision, image_token_id=9,
        video_token_id=10, vision_start_token_id=7, vision_end_token_id=8,
    )  # fmt: skip
    return config, Qwen3VLForConditionalGeneration


def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = {**VISION, "hidden_size": 64, "num_attention_heads": 2, "image_size": 40, "patch_size": 8}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**vision, projection_dim=32),
        text_config=LlamaConfig(**TEXT),
        image_token_index=9,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return config, LlavaForConditionalGeneration


def llava_onevision() -> Any:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    vision = {**VISION, "hidden_size": 64, "num_attention_heads": 2}
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision, vision_use_head=False),
        text_config=Qwen2Config(**TEXT),
        image_token_index=9,
        video_token_index=10,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_9",
    )
    return config, LlavaOnevisionForConditionalGeneration


FAMILIES: dict[str, Callable[[], Any]] = {
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "llava": llava,
    "llava_onevision": llava_onevision,
}


def save(family: str, folder: Path) -> Path:
    """A family's model, processor and tokenizer, as its checkpoints have them."""
    config, architecture = FAMILIES[family]()
    config.chat_marks = MARKS
    model = seeded(lambda: architecture(config))
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 63
    model.save_pretrained(folder)
    processor = checkpoints.PROCESSORS[family]()
    if family == "llava_onevision":
        processor.vision_aspect_ratio = "anyres_max_9"
    processor.save_pretrained(folder)
    if family.startswith("llava"):
        _name_as_released(folder / "model.safetensors")
    return folder


def _name_as_released(file: Path) -> None:
    """Name a tower's weights as released checkpoints do, which engines read; newer transformers save other names."""
    from safetensors.torch import load_file, save_file

    tower, released = "vision_tower.", "vision_tower.vision_model."
    weights = {
        name if released in name else name.replace(tower, released): value for name, value in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})


if __name__ == "__main__":
    for name in FAMILIES:
        print(save(name, Path(sys.argv[1]) / name))
