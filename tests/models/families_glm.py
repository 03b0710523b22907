"""Tiny random-weight models of the GLM-V family, and requests to them built by hand: pictures, or videos."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from autotc.versions import TRIED_SINCE

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words

ROPE = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5, "mrope_section": [2, 2, 2]}
VISION = {
    "depth": 3,
    "hidden_size": 32,
    "out_hidden_size": 48,
    "intermediate_size": 40,
    "num_heads": 4,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "image_size": 32,
}
IDS = {
    "image_token_id": 9,
    "video_token_id": 10,
    "image_start_token_id": 7,
    "image_end_token_id": 8,
    "video_start_token_id": 12,
    "video_end_token_id": 13,
}


def build(name: str, **text: Any) -> Any:
    import transformers

    # Heads of 24: half of each is rotated.
    shape = {**TEXT_MODEL, "num_attention_heads": 2, "num_key_value_heads": 1, "rope_parameters": ROPE, **text}
    config = getattr(transformers, f"{name}Config")(text_config=shape, vision_config=VISION, **IDS)
    config.chat_marks = MARKS
    return seeded(lambda: getattr(transformers, f"{name}ForConditionalGeneration")(config))


@cache
def glm4v() -> Any:
    return build("Glm4v")


@cache
def glm46v() -> Any:
    return build("Glm46V")


@cache
def glm4v_moe() -> Any:
    return build(
        "Glm4vMoe",
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        n_shared_experts=1,
        first_k_dense_replace=1,
    )


def request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as (y, x) or videos as (t, y, x) in output units; not both."""
    ids, media, grids, kinds = [], [], [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        kind = [0] * len(line)
        for j, shape in enumerate([*row.get("image", ()), *row.get("video", ())]):
            t, y, x = (1, *shape) if len(shape) == 2 else shape
            media.append(noise(row["seed"] * 10 + j, t * y * x * 4, 3 * 2 * 4 * 4))
            grids.append([t, 2 * y, 2 * x])
            frame = [7, *[9] * (y * x), 8]
            held = [0, *[1 if len(shape) == 2 else 2] * (y * x), 0]
            parts = [frame] if len(shape) == 2 else [[12], *([*frame, 15 + i] for i in range(t)), [13]]
            seen = [held] if len(shape) == 2 else [[0], *([*held, 0] for _ in range(t)), [0]]
            line += [token for part in parts for token in part]
            kind += [token for part in seen for token in part]
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
        kinds.append(kind + [0] * (len(ids[-1]) - len(kind)))
    out: dict[str, Any] = padded(ids)
    longest = out["input_ids"].shape[1]
    out["mm_token_type_ids"] = torch.tensor([[0] * (longest - len(kind)) + kind for kind in kinds])
    if media:
        video = any("video" in row for row in rows)
        out["pixel_values_videos" if video else "pixel_values"] = torch.cat(media)
        out["video_grid_thw" if video else "image_grid_thw"] = torch.tensor(grids)
    return out


IMAGES: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"seed": 3},
    {"image": [(4, 4)], "seed": 4, "text": 1},
)
VIDEOS: tuple[dict[str, Any], ...] = (
    {"video": [(3, 3, 4)], "seed": 1},
    {"seed": 2, "text": 6},
    {"video": [(2, 4, 4), (4, 2, 3)], "seed": 3},
)

GLM = (
    Family("glm4v", glm4v, IMAGES, request, TRIED_SINCE),
    Family("glm4v_moe", glm4v_moe, VIDEOS, request, TRIED_SINCE),
    Family("glm46v", glm46v, VIDEOS, request, TRIED_SINCE),
)
