"""Tiny random-weight models of every family, and requests to them built by hand: offline, no processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from autotc.versions import TRIED_SINCE

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words
from .families_gemma import GEMMA
from .families_glm import GLM
from .families_packed import PACKED
from .families_qwen import QWEN
from .families_tiled import TILED


@cache
def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=40,
        patch_size=8,
        projection_dim=32,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**TEXT_MODEL),
        image_token_index=9,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    config.chat_marks = MARKS
    return seeded(lambda: LlavaForConditionalGeneration(config))


def llava_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ids, pixels = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j in range(row.get("image", 0)):
            line += [9] * 25
            pixels.append(noise(row["seed"] * 10 + j, 3, 40, 40))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if pixels:
        out["pixel_values"] = torch.stack(pixels)
    return out


@cache
def gemma3() -> Any:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    config = Gemma3Config(
        text_config={
            **TEXT_MODEL,
            "head_dim": 12,
            "query_pre_attn_scalar": 10,
            "sliding_window": 12,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 4,
            "vision_use_head": False,
        },
        mm_tokens_per_image=16,
        image_token_index=9,
        boi_token_index=7,
        eoi_token_index=8,
    )
    config.chat_marks = {**MARKS, "template": [0, 1, 7, 8, 11]}

    def build() -> Any:
        model = Gemma3ForConditionalGeneration(config)
        # It begins as zeros, which would make all of an image's tokens the same.
        model.model.multi_modal_projector.mm_input_projection_weight.data.normal_(std=0.05)
        return model

    return seeded(build)


def gemma3_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ids, pixels = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j in range(row.get("image", 0)):
            line += [11, 7, *[9] * 16, 8, 11]
            pixels.append(noise(row["seed"] * 10 + j, 3, 32, 32))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    out["token_type_ids"] = (out["input_ids"] == 9).long()
    if pixels:
        out["pixel_values"] = torch.stack(pixels)
    return out


@cache
def qwen2_audio() -> Any:
    from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

    config = Qwen2AudioConfig(
        text_config={"model_type": "qwen2", **TEXT_MODEL},
        audio_config={
            "model_type": "qwen2_audio_encoder",
            "d_model": 32,
            "encoder_layers": 3,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 8,
            "max_source_positions": 24,
        },
        audio_token_index=9,
    )
    config.chat_marks = MARKS
    return seeded(lambda: Qwen2AudioForConditionalGeneration(config))


def qwen2_audio_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Clips as their number of mel frames, 48 at most."""
    ids, features, masks = [], [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, frames in enumerate(row.get("audio", ())):
            line += [7, *[9] * (((frames - 1) // 2 + 1) // 2), 8]
            features.append(noise(row["seed"] * 10 + j, 8, 48))
            masks.append((torch.arange(48) < frames).int())
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if features:
        out |= {"input_features": torch.stack(features), "feature_attention_mask": torch.stack(masks)}
    return out


@cache
def voxtral() -> Any:
    from transformers import VoxtralConfig, VoxtralForConditionalGeneration

    config = VoxtralConfig(
        text_config={"model_type": "llama", **TEXT_MODEL, "head_dim": 12},
        audio_config={
            "hidden_size": 16,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_mel_bins": 8,
            "max_source_positions": 48,
        },
        audio_token_id=9,
    )
    config.chat_marks = MARKS
    return seeded(lambda: VoxtralForConditionalGeneration(config))


def voxtral_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Clips as their number of windows, each of 96 mel frames and 12 tokens."""
    ids, features = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, windows in enumerate(row.get("audio", ())):
            line += [7, *[9] * (12 * windows)]
            features.append(noise(row["seed"] * 10 + j, windows, 8, 96))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if features:
        out["input_features"] = torch.cat(features)
    return out


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "llava",
            llava,
            (
                {"image": 1, "seed": 1},
                {"image": 2, "seed": 2, "text": 7},
                {"seed": 3},
                {"image": 1, "seed": 4, "text": 1},
            ),
            llava_request,
        ),
        Family(
            "gemma3",
            gemma3,
            (
                {"image": 1, "seed": 1},
                {"image": 2, "seed": 2, "text": 7},
                {"seed": 3},
                {"image": 1, "seed": 4, "text": 1},
            ),
            gemma3_request,
        ),
        Family(
            "qwen2_audio",
            qwen2_audio,
            (
                {"audio": [48], "seed": 1},
                {"audio": [30, 41], "seed": 2, "text": 7},
                {"seed": 3},
                {"audio": [13], "seed": 4, "text": 1},
            ),
            qwen2_audio_request,
        ),
        Family(
            "voxtral",
            voxtral,
            (
                {"audio": [1], "seed": 1},
                {"audio": [2], "seed": 2, "text": 7},
                {"seed": 3},
                {"audio": [1, 1], "seed": 4, "text": 1},
            ),
            voxtral_request,
            TRIED_SINCE,
        ),
        *TILED,
        *QWEN,
        *GEMMA,
        *GLM,
        *PACKED,
    )
    if family.known
}
