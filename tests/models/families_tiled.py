"""Tiny random-weight models of the families that take images as tiles, and requests to them built by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 6,
}
PINPOINTS = [[24, 48], [48, 24], [48, 48], [24, 72]]


@cache
def llava_next() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(**TEXT_MODEL),
        image_token_index=9,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        image_grid_pinpoints=PINPOINTS,
    )
    config.chat_marks = MARKS
    return seeded(lambda: LlavaNextForConditionalGeneration(config))


@cache
def llava_onevision() -> Any:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=Qwen2Config(**TEXT_MODEL),
        image_token_index=9,
        video_token_index=10,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_2",
    )
    config.chat_marks = MARKS
    return seeded(lambda: LlavaOnevisionForConditionalGeneration(config))


def packed_tokens(height: int, width: int, tiles: tuple[int, int], side: int, most: int | None) -> int:
    """Tokens of a tiled image, as the processors count them: base view, unpadded grid, a newline behind each row."""
    rows, columns = tiles[0] * side, tiles[1] * side
    if width / height > columns / rows:
        new = int(round(height * (columns / width), 7))
        rows -= 2 * ((rows - new) // 2)
    else:
        new = int(round(width * (rows / height), 7))
        columns -= 2 * ((columns - new) // 2)
    if most is not None:
        ratio = math.sqrt(rows * columns / (most * side**2))
        if ratio > 1.1:
            rows, columns = int(rows // ratio), int(columns // ratio)
    return side**2 + rows * columns + rows


def tiled_request(rows: Sequence[dict[str, Any]], most: int | None = None) -> dict[str, Any]:
    """Images as (height, width, rows of tiles, columns of tiles) and videos as numbers of frames."""
    ids, pixels, sizes, clips, numbers = [], [], [], [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        images = row.get("image", ())
        if images and most is not None:
            numbers.append(len(images))
        for j, (height, width, down, across) in enumerate(images):
            tiled = most is None or len(images) == 1
            count = packed_tokens(height, width, (down, across), 4, most) if tiled else 17
            line += [9] * count
            views = 1 + down * across if tiled else 1
            tiles = noise(row["seed"] * 10 + j, views, 3, 24, 24)
            pixels.append(torch.cat([tiles, torch.zeros(5 - views, 3, 24, 24)]))
            sizes.append([height, width])
        for j, frames in enumerate(row.get("video", ())):
            line += [10] * (frames * 4 + 1)
            clips.append(noise(row["seed"] * 10 + 5 + j, frames, 3, 24, 24))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if pixels:
        out |= {"pixel_values": torch.stack(pixels), "image_sizes": torch.tensor(sizes)}
    if numbers:
        out["batch_num_images"] = torch.tensor(numbers)
    if clips:
        out["pixel_values_videos"] = torch.stack(clips)
    return out


@cache
def internvl() -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, Qwen3Config
    from transformers.models.internvl import InternVLVisionConfig

    vision = InternVLVisionConfig(
        **{**VISION, "image_size": [24, 24], "patch_size": [6, 6]},
        use_qk_norm=True,
        norm_type="rms_norm",
        layer_scale_init_value=0.5,
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen3Config(**TEXT_MODEL, head_dim=12),
        image_token_id=9,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        downsample_ratio=0.5,
    )
    config.chat_marks = MARKS
    return seeded(lambda: InternVLForConditionalGeneration(config))


def internvl_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as numbers of tiles."""
    ids, pixels = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, tiles in enumerate(row.get("image", ())):
            line += [7, *[9] * (4 * tiles), 8]
            pixels.append(noise(row["seed"] * 10 + j, tiles, 3, 24, 24))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if pixels:
        out["pixel_values"] = torch.cat(pixels)
    return out


def idefics(name: str) -> Any:
    import transformers

    config = getattr(transformers, f"{name}Config")(
        vision_config=VISION,
        text_config={"model_type": "llama", **TEXT_MODEL},
        image_token_id=9,
        scale_factor=2,
        pad_token_id=0,
    )
    config.chat_marks = MARKS
    return seeded(lambda: getattr(transformers, f"{name}ForConditionalGeneration")(config))


@cache
def smolvlm() -> Any:
    return idefics("SmolVLM")


@cache
def idefics3() -> Any:
    return idefics("Idefics3")


def smolvlm_request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as numbers of tiles; rows with fewer are filled up with zeros. The last patches of seed 2 are padding."""
    ids, tiles = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        mine = [noise(row["seed"] * 10 + j, count, 3, 24, 24) for j, count in enumerate(row.get("image", ()))]
        for count in row.get("image", ()):
            for _ in range(count):
                line += [7, 11, *[9] * 4]
            line += [7]
        tiles.append(torch.cat([*mine, torch.zeros(0, 3, 24, 24)]))
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    longest = max(len(mine) for mine in tiles)
    if longest:
        filled = [torch.cat([mine, torch.zeros(longest - len(mine), 3, 24, 24)]) for mine in tiles]
        mask = torch.ones(len(rows), longest, 24, 24, dtype=torch.bool)
        for i, row in enumerate(rows):
            if row["seed"] == 2:
                mask[i, :, 18:] = False
        out |= {"pixel_values": torch.stack(filled), "pixel_attention_mask": mask}
    return out


TILES = ({"image": [1], "seed": 1}, {"image": [3, 1], "seed": 2, "text": 7}, {"seed": 3}, {"image": [2], "seed": 4})

TILED = (
    Family(
        "llava_next",
        llava_next,
        (
            {"image": [(40, 44, 2, 2)], "seed": 1},
            {"image": [(20, 60, 1, 3), (50, 22, 2, 1)], "seed": 2, "text": 7},
            {"seed": 3},
            {"image": [(18, 44, 1, 2)], "seed": 4, "text": 1},
        ),
        tiled_request,
    ),
    Family(
        "llava_onevision",
        llava_onevision,
        (
            {"image": [(40, 44, 2, 2)], "seed": 1},
            {"image": [(20, 60, 1, 3), (50, 22, 2, 1)], "seed": 2, "text": 7},
            {"seed": 3},
            {"video": [3], "seed": 4, "text": 1},
            {"image": [(18, 44, 1, 2)], "video": [3], "seed": 5},
        ),
        partial(tiled_request, most=2),
    ),
    Family("internvl", internvl, TILES, internvl_request),
    Family("smolvlm", smolvlm, TILES, smolvlm_request),
    Family("idefics3", idefics3, TILES, smolvlm_request),
)
