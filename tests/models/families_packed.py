"""Tiny random-weight models whose towers take pictures of any size as one sequence, and requests built by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch

from autotc.versions import TRIED_SINCE

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words


@cache
def mistral3() -> Any:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration

    config = Mistral3Config(
        text_config={"model_type": "mistral", **TEXT_MODEL, "head_dim": 12, "sliding_window": None},
        vision_config={
            "model_type": "pixtral",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "head_dim": 8,
            "patch_size": 4,
            "image_size": 96,
        },
        image_token_index=9,
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    config.chat_marks = {**MARKS, "template": [0, 1, 12, 13]}
    return seeded(lambda: Mistral3ForConditionalGeneration(config))


def mistral3_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as (y, x) in output units: squares of 2 x 2 patches of 4 pixels."""
    ids, pixels, sizes = [], [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, (y, x) in enumerate(row.get("image", ())):
            line += [*([*[9] * x, 12] * (y - 1)), *[9] * x, 13]
            pixels.append(noise(row["seed"] * 10 + j, 3, 8 * y, 8 * x))
            sizes.append((8 * y, 8 * x))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if pixels:
        # As the processor does: smaller pictures are padded to the largest, on the right and below.
        canvas = torch.zeros(len(pixels), 3, 48, 48)
        for image, (height, width), into in zip(pixels, sizes, canvas, strict=True):
            into[:, :height, :width] = image
        out |= {"pixel_values": canvas, "image_sizes": torch.tensor(sizes)}
    return out


@cache
def video_llama_3() -> Any:
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    config = VideoLlama3Config(
        text_config={"model_type": "qwen2", **TEXT_MODEL},
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "patch_size": 4,
        },
        image_token_id=9,
        video_token_id=10,
    )
    config.chat_marks = MARKS
    return seeded(lambda: VideoLlama3ForConditionalGeneration(config))


def video_llama_3_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as (y, x) of patches, videos as (t, y, x) of squares of 2 x 2 patches; time stamps before frames."""
    ids: list[list[int]] = []
    media: dict[str, list[Any]] = {"image": [], "video": []}
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, (y, x) in enumerate(row.get("image", ())):
            media["image"].append(noise(row["seed"] * 10 + j, y * x, 3 * 4 * 4))
            grids["image"].append([1, y, x])
            line += [9] * (y * x)
        for j, (t, y, x) in enumerate(row.get("video", ())):
            media["video"].append(noise(row["seed"] * 10 + 5 + j, t * y * x * 4, 3 * 4 * 4))
            grids["video"].append([t, 2 * y, 2 * x])
            for frame in range(t):
                line += [14, 15 + frame, *[10] * (y * x)]
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    for kind, name, merge in (("image", "pixel_values", 1), ("video", "pixel_values_videos", 2)):
        if media[kind]:
            out[name] = torch.cat(media[kind])
            out[f"{kind}_grid_thw"] = torch.tensor(grids[kind])
            out[f"{kind}_merge_sizes"] = torch.full((len(grids[kind]),), merge)
    return out


def minicpmv(version: str) -> Any:
    import transformers

    text = {
        "model_type": "qwen3_5_text",
        **TEXT_MODEL,
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_key_head_dim": 8,
        "linear_num_value_heads": 4,
        "linear_value_head_dim": 12,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "partial_rotary_factor": 0.75,
            "mrope_section": [2, 2, 2],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "patch_size": 4,
        "image_size": 64,
    }
    marks = {"image_start_id": 7, "image_end_id": 8, "slice_start_id": 12, "slice_end_id": 13, "newline_id": 14}
    config = getattr(transformers, f"MiniCPMV{version}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=9,
        video_token_id=10,
        insert_layer_id=0,
        **(marks if version == "4_7" else {}),
    )
    config.chat_marks = MARKS
    return seeded(lambda: getattr(transformers, f"MiniCPMV{version}ForConditionalGeneration")(config))


@cache
def minicpmv4_6() -> Any:
    return minicpmv("4_6")


@cache
def minicpmv4_7() -> Any:
    return minicpmv("4_7")


def minicpmv_request(rows: Sequence[dict[str, Any]], types: bool = False) -> dict[str, Any]:
    """Images as (y, x) and frames of videos as (t, y, x) in output units: squares of 4 x 4 patches of 4 pixels."""
    ids: list[list[int]] = []
    media: dict[str, list[Any]] = {"image": [], "video": []}
    sizes: dict[str, list[list[int]]] = {"image": [], "video": []}
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for kind, token in (("image", 9), ("video", 10)):
            for j, shape in enumerate(row.get(kind, ())):
                frames, y, x = (1, *shape) if kind == "image" else shape
                for frame in range(frames):
                    patches = noise(row["seed"] * 10 + j + 3 * frame, 3, 4, 4 * 16 * y * x)
                    media[kind].append(patches)
                    sizes[kind].append([4 * y, 4 * x])
                    line += [7, *[token] * (y * x), 8]
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if types:
        out["mm_token_type_ids"] = torch.where(out["input_ids"] == 9, 1, torch.where(out["input_ids"] == 10, 2, 0))
    for kind, suffix in (("image", ""), ("video", "_videos")):
        if media[kind]:
            out[f"pixel_values{suffix}"] = torch.cat(media[kind], -1)[None]
            out[f"target_sizes{suffix}"] = torch.tensor(sizes[kind], dtype=torch.int32)
    return out


SLICES: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"video": [(3, 3, 4)], "seed": 3},
    {"seed": 4},
    {"image": [(4, 4)], "video": [(2, 4, 4)], "seed": 5},
)

PACKED = (
    Family("minicpmv4_6", minicpmv4_6, SLICES, minicpmv_request, TRIED_SINCE),
    Family("minicpmv4_7", minicpmv4_7, SLICES, partial(minicpmv_request, types=True), TRIED_SINCE),
    Family(
        "video_llama_3",
        video_llama_3,
        (
            {"image": [(4, 6)], "seed": 1},
            {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
            {"video": [(3, 3, 4)], "seed": 3},
            {"seed": 4},
            {"image": [(4, 4)], "video": [(2, 4, 4)], "seed": 5},
        ),
        video_llama_3_request,
        TRIED_SINCE,
    ),
    Family(
        "mistral3",
        mistral3,
        (
            {"image": [(6, 6)], "seed": 1},
            {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
            {"seed": 3},
            {"image": [(2, 6)], "seed": 4, "text": 1},
        ),
        mistral3_request,
        TRIED_SINCE,
    ),
)
