"""Shapes of released checkpoints by name, so that policies can be made for them without their files."""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "llava-1.5-7b": (
        "LlavaForConditionalGeneration",
        {
            "image_token_index": 32000,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "text_config": {
                "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 32064,
            },
            "vision_config": {
                "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
                "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 14, "image_size": 336,
                "projection_dim": 768,
            },
        },
    ),
    "qwen2.5-vl-7b": (
        "Qwen2_5_VLForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
                "num_key_value_heads": 4, "vocab_size": 152064,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            },
            "vision_config": {
                "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "out_hidden_size": 3584,
                "fullatt_block_indexes": [7, 15, 23, 31],
            },
        },
    ),
}  # fmt: skip
"""Name -> architecture and configuration: llava-hf/llava-1.5-7b-hf and Qwen/Qwen2.5-VL-7B-Instruct."""


def published_config(name: str) -> Any:
    """The transformers configuration of a name in `PUBLISHED`."""
    import transformers

    architecture, values = PUBLISHED[name]
    config_class: Any = getattr(transformers, architecture).config_class
    return config_class(**values, architectures=[architecture])
