"""Shapes of released checkpoints by name, so that policies can be made for them without their files."""

from __future__ import annotations

from typing import Any

_CLIP_LARGE = {
    "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "patch_size": 14, "image_size": 336, "projection_dim": 768,
}  # fmt: skip
_SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "patch_size": 14}
_QWEN2_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4,
}  # fmt: skip

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
            "vision_config": _CLIP_LARGE,
        },
    ),
    "qwen2.5-vl-7b": (
        "Qwen2_5_VLForConditionalGeneration",
        {
            "text_config": {
                **_QWEN2_7B, "vocab_size": 152064,
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
            },
            "vision_config": {
                "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112, "out_hidden_size": 3584,
                "fullatt_block_indexes": [7, 15, 23, 31],
            },
        },
    ),
    "llava-next-7b": (
        "LlavaNextForConditionalGeneration",
        {
            "image_token_index": 32000,
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "default",
            "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
            "text_config": {
                "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32064, "sliding_window": None,
            },
            "vision_config": _CLIP_LARGE,
        },
    ),
    "llava-onevision-7b": (
        "LlavaOnevisionForConditionalGeneration",
        {
            "image_token_index": 151646,
            "video_token_index": 151647,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
            "image_grid_pinpoints": [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)],
            "text_config": {"model_type": "qwen2", **_QWEN2_7B, "vocab_size": 152128},
            "vision_config": {
                **_SIGLIP, "num_hidden_layers": 26, "image_size": 384, "vision_use_head": False,
            },
        },
    ),
    "qwen3-vl-8b": (
        "Qwen3VLForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
                "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                "rope_parameters": {
                    "rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True,
                },
            },
            "vision_config": {
                "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 4096,
                "num_position_embeddings": 2304, "deepstack_visual_indexes": [8, 16, 24],
            },
        },
    ),
    "qwen3.5-9b": (
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 16,
                "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248320, "linear_num_key_heads": 16,
                "linear_num_value_heads": 32, "linear_key_head_dim": 128, "linear_value_head_dim": 128,
                "rope_parameters": {
                    "rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25,
                    "mrope_section": [11, 11, 10], "mrope_interleaved": True,
                },
            },
            "vision_config": {
                "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16, "patch_size": 16,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 4096,
                "num_position_embeddings": 2304,
            },
        },
    ),
    "glm-4.1v-9b": (
        "Glm4vForConditionalGeneration",
        {
            "text_config": {
                "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 32,
                "num_key_value_heads": 2, "vocab_size": 151552,
                "rope_parameters": {
                    "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5,
                    "mrope_section": [8, 12, 12],
                },
            },
            "vision_config": {
                "depth": 24, "hidden_size": 1536, "intermediate_size": 13696, "num_heads": 12, "patch_size": 14,
                "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 4096, "image_size": 336,
            },
        },
    ),
    "mistral-small-3.2-24b": (
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {
                "model_type": "mistral", "hidden_size": 5120, "intermediate_size": 32768, "num_hidden_layers": 40,
                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 131072,
                "sliding_window": None,
            },
            "vision_config": {
                "model_type": "pixtral", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                "num_attention_heads": 16, "head_dim": 64, "patch_size": 14, "image_size": 1540,
            },
        },
    ),
    "videollama3-7b": (
        "VideoLlama3ForConditionalGeneration",
        {
            "text_config": {"model_type": "qwen2", **_QWEN2_7B, "vocab_size": 152064},
            "vision_config": {**_SIGLIP, "num_hidden_layers": 27},
        },
    ),
    "internvl3-8b": (
        "InternVLForConditionalGeneration",
        {
            "image_token_id": 151667,
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "default",
            "downsample_ratio": 0.5,
            "text_config": {"model_type": "qwen2", **_QWEN2_7B, "vocab_size": 151674},
            "vision_config": {
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "image_size": [448, 448], "patch_size": [14, 14],
            },
        },
    ),
    "qwen2-audio-7b": (
        "Qwen2AudioForConditionalGeneration",
        {
            "audio_token_index": 151646,
            "text_config": {
                "model_type": "qwen2", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 156032,
            },
            "audio_config": {
                "model_type": "qwen2_audio_encoder", "d_model": 1280, "encoder_layers": 32,
                "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "num_mel_bins": 128,
                "max_source_positions": 1500,
            },
        },
    ),
    "gemma3-4b": (
        "Gemma3ForConditionalGeneration",
        {
            "mm_tokens_per_image": 256,
            "image_token_index": 262144,
            "text_config": {
                "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8,
                "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "sliding_window": 1024,
            },
            "vision_config": {
                **_SIGLIP, "model_type": "siglip_vision_model", "num_hidden_layers": 27, "image_size": 896,
                "vision_use_head": False,
            },
        },
    ),
    "smolvlm2-2.2b": (
        "SmolVLMForConditionalGeneration",
        {
            "image_token_id": 49190,
            "scale_factor": 3,
            "text_config": {
                "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24,
                "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 49280,
            },
            "vision_config": {**_SIGLIP, "num_hidden_layers": 27, "image_size": 384},
        },
    ),
}  # fmt: skip
"""Name -> architecture and configuration of a released checkpoint."""
CONFIRMED = frozenset({"llava-1.5-7b", "qwen2.5-vl-7b"})
"""Those whose every structural field was held against the checkpoint (llava-hf/llava-1.5-7b-hf and
Qwen/Qwen2.5-VL-7B-Instruct): policies for them carry the fingerprint. The others have the architecture's size."""


def published_config(name: str) -> Any:
    """The transformers configuration of a name in `PUBLISHED`."""
    import transformers

    architecture, values = PUBLISHED[name]
    config_class: Any = getattr(transformers, architecture).config_class
    return config_class(**values, architectures=[architecture])
