"""Tiny random-weight models of Gemma 4, and requests to them built by hand: offline, no processor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch

from autotc.versions import TRIED_SINCE

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words

TEXT = {**TEXT_MODEL, "num_hidden_layers": 6, "head_dim": 12, "sliding_window": 12, "vocab_size_per_layer_input": 64}
KINDS = ["sliding_attention", "full_attention"] * 3
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "patch_size": 4,
    "position_embedding_size": 64,
}
AUDIO = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "subsampling_conv_channels": [8, 4],
    "output_proj_dims": 40,
}
IDS = {
    "boi_token_id": 7,
    "eoi_token_id": 8,
    "image_token_id": 9,
    "video_token_id": 10,
    "audio_token_id": 11,
    "boa_token_id": 12,
    "eoa_token_index": 13,
}
ROWS = 24 * 9
"""Patches of a picture or frame, padding among them."""


def build(audio: bool, **text: Any) -> Any:
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    config = Gemma4Config(
        text_config={**TEXT, "layer_types": KINDS, "global_head_dim": 16, **text},
        vision_config=VISION,
        audio_config=AUDIO if audio else None,
        tie_word_embeddings=False,
        **IDS,
    )
    config.chat_marks = {**MARKS, "template": [0, 1, 7, 8, 12, 13]}
    model = seeded(lambda: Gemma4ForConditionalGeneration(config))
    # Positions begin as ones, and embeddings are scaled by the root of the width.
    model.model.vision_tower.patch_embedder.position_embedding_table.data.normal_(std=0.5)
    return model.eval()


@cache
def gemma4() -> Any:
    """As the smaller ones: embeddings for each layer, and keys that the last layers take from earlier ones."""
    return build(True, hidden_size_per_layer_input=8, num_kv_shared_layers=2, use_double_wide_mlp=True)


@cache
def gemma4_moe() -> Any:
    """As the larger ones: pictures that see themselves whole within windows, keys that are values too, experts."""
    return build(
        False,
        hidden_size_per_layer_input=0,
        use_bidirectional_attention="vision",
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        enable_moe_block=True,
        num_experts=4,
        top_k_experts=2,
        moe_intermediate_size=32,
    )


def patches(seed: int, y: int, x: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and (x, y) places of the patches of a picture of (y, x) units, line by line, then padding."""
    count = 9 * y * x
    pixels = torch.zeros(ROWS, 3 * 4 * 4)
    pixels[:count] = noise(seed, count, 3 * 4 * 4).sigmoid()
    places = torch.full((ROWS, 2), -1)
    grid = torch.meshgrid(torch.arange(3 * x), torch.arange(3 * y), indexing="xy")
    places[:count] = torch.stack(grid, -1).reshape(count, 2)
    return pixels, places


def request(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Images as (y, x) and videos as (t, y, x) in output units, clips as numbers of mel frames."""
    ids: list[list[int]] = []
    media: dict[str, list[Any]] = {"image": [], "video": []}
    frames: list[int] = []
    clips, masks = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for j, (y, x) in enumerate(row.get("image", ())):
            media["image"].append(patches(row["seed"] * 10 + j, y, x))
            line += [7, *[9] * (y * x), 8]
        for j, (t, y, x) in enumerate(row.get("video", ())):
            media["video"] += [patches(row["seed"] * 10 + 5 + j + 7 * frame, y, x) for frame in range(t)]
            frames.append(t)
            for frame in range(t):
                line += [14, 15 + frame, 7, *[10] * (y * x), 8]
        for j, length in enumerate(row.get("audio", ())):
            clips.append(noise(row["seed"] * 10 + 7 + j, 96, 8))
            masks.append(torch.arange(96) < length)
            line += [12, *[11] * -(-length // 4), 13]
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    kinds = [torch.where(out["input_ids"] == token, number, 0) for number, token in ((1, 9), (2, 10), (3, 11))]
    out["mm_token_type_ids"] = sum(kinds[1:], kinds[0])
    for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if media[kind]:
            out[name] = torch.stack([pixels for pixels, _ in media[kind]])
            out[f"{kind}_position_ids"] = torch.stack([places for _, places in media[kind]])
    if frames:
        out["num_frames_per_video"] = torch.tensor(frames)
    if clips:
        out |= {"input_features": torch.stack(clips), "input_features_mask": torch.stack(masks)}
    return out


PICTURES: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"video": [(2, 3, 4)], "seed": 3},
    {"seed": 4},
    {"video": [(3, 2, 2)], "seed": 7},
)
GEMMA = (
    Family(
        "gemma4",
        gemma4,
        (*PICTURES, {"audio": [96], "seed": 5}, {"image": [(2, 3)], "audio": [50], "seed": 6}),
        request,
        TRIED_SINCE,
    ),
    Family("gemma4_moe", gemma4_moe, PICTURES, partial(request), TRIED_SINCE),
)
