"""Tiny random-weight models of every family, and requests to them built by hand: offline, no processor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

TEXT, USER, END = 5, [2, 3], 4
"""First id of plain text; ids that open and close the user's turn."""
MARKS = {"user": USER, "end": END, "template": [0, 1]}


@dataclass(frozen=True)
class Family:
    """How the tests speak to a family.

    Attributes:
        name: of the adapter.
        build: a model in eval mode.
        rows: batches of the exactness tests, one entry a row: modality -> shapes of its items.
        request: model inputs of such rows, left-padded.
    """

    name: str
    build: Callable[[], nn.Module]
    rows: tuple[dict[str, Any], ...]
    request: Callable[[Sequence[dict[str, Any]]], dict[str, Any]]


def _seeded(build: Callable[[], Any]) -> Any:
    torch.manual_seed(7)
    model = build().eval()
    for parameter in model.parameters():
        # Default initialisations make attention nearly uniform; sharper weights make mistakes visible.
        if parameter.dim() > 1:
            parameter.data.mul_(3.0)
    return model


def _padded(rows: Sequence[list[int]]) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def _text(seed: int, length: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 30, (length,), generator=generator) + 20).tolist()


TEXT_MODEL = {
    "vocab_size": 64, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 63, "bos_token_id": 1,
}  # fmt: skip


@cache
def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4, image_size=40, patch_size=8,
        projection_dim=32,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=LlamaConfig(**TEXT_MODEL), image_token_index=9, vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    config.chat_marks = MARKS
    return _seeded(lambda: LlavaForConditionalGeneration(config))


def llava_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    ids, pixels = [], []
    for row in rows:
        line = [1, *USER, *_text(row["seed"] + 100, 2)]
        for j in range(row.get("image", 0)):
            line += [9] * 25
            pixels.append(torch.randn(3, 40, 40, generator=torch.Generator().manual_seed(row["seed"] * 10 + j)))
        ids.append([*line, *_text(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = _padded(ids)
    if pixels:
        out["pixel_values"] = torch.stack(pixels)
    return out


@cache
def qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={**TEXT_MODEL, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4,
                                                       "mrope_section": [2, 2, 2]}},
        vision_config={
            "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "patch_size": 4,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 16, "out_hidden_size": 48,
            "fullatt_block_indexes": [1], "in_channels": 3,
        },
        image_token_id=9, video_token_id=10, vision_start_token_id=7, vision_end_token_id=8,
    )  # fmt: skip
    config.chat_marks = MARKS
    return _seeded(lambda: Qwen2_5_VLForConditionalGeneration(config))


@cache
def qwen2_vl() -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    config = Qwen2VLConfig(
        text_config={**TEXT_MODEL, "rope_parameters": rope},
        vision_config={
            "depth": 3, "embed_dim": 32, "mlp_ratio": 2, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "hidden_size": 48, "in_channels": 3,
        },
        image_token_id=9, video_token_id=10, vision_start_token_id=7, vision_end_token_id=8,
    )  # fmt: skip
    config.chat_marks = MARKS
    return _seeded(lambda: Qwen2VLForConditionalGeneration(config))


QWEN_ROWS: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"video": [(3, 3, 4)], "seed": 3},
    {"seed": 4},
    {"image": [(4, 4)], "video": [(2, 4, 4)], "seed": 5},
)


def qwen_request(rows: Sequence[dict[str, Any]], seconds: bool = False) -> dict[str, Any]:
    """Images as (y, x) and videos as (t, y, x) in output units; ``seconds`` tells the pace of videos."""
    ids: list[list[int]] = []
    media: dict[str, list[Tensor]] = {"image": [], "video": []}
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    for row in rows:
        line = [1, *USER, *_text(row["seed"] + 100, 2)]
        for kind, token in (("image", 9), ("video", 10)):
            for j, shape in enumerate(row.get(kind, ())):
                t, y, x = (1, *shape) if kind == "image" else shape
                generator = torch.Generator().manual_seed(row["seed"] * 10 + j)
                media[kind].append(torch.randn(t * y * x * 4, 3 * 2 * 4 * 4, generator=generator))
                grids[kind].append([t, 2 * y, 2 * x])
                line += [7, *[token] * (t * y * x), 8]
        ids.append([*line, *_text(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = _padded(ids)
    out["mm_token_type_ids"] = torch.where(out["input_ids"] == 9, 1, torch.where(out["input_ids"] == 10, 2, 0))
    for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if media[kind]:
            out[name] = torch.cat(media[kind])
            out[f"{kind}_grid_thw"] = torch.tensor(grids[kind])
    if media["video"] and seconds:
        out["second_per_grid_ts"] = torch.ones(len(media["video"]))
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
        Family("qwen2_vl", qwen2_vl, QWEN_ROWS, qwen_request),
        Family("qwen2_5_vl", qwen2_5_vl, QWEN_ROWS, partial(qwen_request, seconds=True)),
    )
}
