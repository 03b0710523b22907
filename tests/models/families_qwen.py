"""Tiny random-weight models of the families of Qwen-VL and Omni, and requests to them built by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from autotc.versions import OMNI_SINCE, TRIED_SINCE

from .building import END, MARKS, TEXT_MODEL, USER, Family, noise, padded, seeded, words


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
    return seeded(lambda: Qwen2_5_VLForConditionalGeneration(config))


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
    return seeded(lambda: Qwen2VLForConditionalGeneration(config))


DEEP = {
    "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "patch_size": 4, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "out_hidden_size": 48, "in_channels": 3, "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2], "mrope_interleaved": True}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}


def deep(experts: bool) -> Any:
    import transformers

    name = "Qwen3VLMoe" if experts else "Qwen3VL"
    text = {**TEXT_MODEL, "head_dim": 12, "rope_parameters": ROPE, **(EXPERTS if experts else {})}
    config = getattr(transformers, f"{name}Config")(
        text_config=text, vision_config=DEEP, image_token_id=9, video_token_id=10, vision_start_token_id=7,
        vision_end_token_id=8,
    )  # fmt: skip
    config.chat_marks = MARKS
    return seeded(lambda: getattr(transformers, f"{name}ForConditionalGeneration")(config))


@cache
def qwen3_vl() -> Any:
    return deep(experts=False)


@cache
def qwen3_vl_moe() -> Any:
    return deep(experts=True)


@cache
def qwen3_omni() -> Any:
    from transformers import Qwen3OmniMoeThinkerConfig, Qwen3OmniMoeThinkerForConditionalGeneration

    config = Qwen3OmniMoeThinkerConfig(
        audio_config={
            "num_mel_bins": 16, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "d_model": 32,
            "n_window": 50, "n_window_infer": 200, "output_dim": 48, "downsample_hidden_size": 8,
            "max_source_positions": 100,
        },
        vision_config=DEEP, text_config={**TEXT_MODEL, "head_dim": 12, "rope_parameters": ROPE, **EXPERTS},
        image_token_id=9, video_token_id=10, audio_token_id=11, audio_start_token_id=12,
    )  # fmt: skip
    config.vision_start_token_id, config.vision_end_token_id, config.audio_end_token_id = 7, 8, 13
    config.chat_marks = MARKS
    return seeded(lambda: Qwen3OmniMoeThinkerForConditionalGeneration(config))


@cache
def qwen2_5_omni() -> Any:
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": 16,
            "encoder_layers": 3,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "d_model": 32,
            "n_window": 50,
            "output_dim": 48,
            "max_source_positions": 100,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "out_hidden_size": 48,
            "fullatt_block_indexes": [1],
            "in_channels": 3,
        },
        text_config={**TEXT_MODEL, "rope_parameters": rope},
        image_token_index=9,
        video_token_index=10,
        audio_token_index=11,
        vision_start_token_id=7,
        vision_end_token_id=8,
        audio_start_token_id=12,
        audio_end_token_id=13,
        position_id_per_seconds=4,
        seconds_per_chunk=2,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    config.chat_marks = MARKS
    return seeded(lambda: Qwen2_5OmniThinkerForConditionalGeneration(config))


def hybrid(experts: bool) -> Any:
    """A recurrent layer, then one with attention, twice."""
    import transformers

    name = "Qwen3_5Moe" if experts else "Qwen3_5"
    shared = {"shared_expert_intermediate_size": 32} if experts else {}
    kinds = ["linear_attention", "full_attention"] * 2
    text = {
        **TEXT_MODEL,
        "head_dim": 16,
        "layer_types": kinds,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_num_value_heads": 4,
        "linear_value_head_dim": 12,
        "rope_parameters": {
            **ROPE,
            "partial_rotary_factor": 0.75,
        },
        **(EXPERTS if experts else {}),
        **shared,
    }
    vision = {key: value for key, value in DEEP.items() if key != "deepstack_visual_indexes"}
    config = getattr(transformers, f"{name}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=9,
        video_token_id=10,
        vision_start_token_id=7,
        vision_end_token_id=8,
    )
    config.chat_marks = MARKS
    return seeded(lambda: getattr(transformers, f"{name}ForConditionalGeneration")(config))


@cache
def qwen3_5() -> Any:
    return hybrid(experts=False)


@cache
def qwen3_5_moe() -> Any:
    return hybrid(experts=True)


ROWS: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"video": [(3, 3, 4)], "seed": 3},
    {"seed": 4},
    {"image": [(4, 4)], "video": [(2, 4, 4)], "seed": 5},
)
# The bare model pads a clip's last chunk to the batch's longest, which its convolutions see; whole chunks stay.
OMNI_ROWS: tuple[dict[str, Any], ...] = (
    {"image": [(4, 6)], "audio": [100], "seed": 1},
    {"image": [(3, 3), (5, 4)], "seed": 2, "text": 7},
    {"video": [(2, 3, 4), (2, 2, 2)], "seed": 3},
    {"seed": 4},
)


def by_chunks(frames: int) -> int:
    """Tokens of a clip of mel frames: 13 of each chunk of 100."""
    return 13 * (frames // 100) + -(-(frames % 100) // 8)


def by_pairs(frames: int) -> int:
    """Tokens of a clip of mel frames: a convolution halves them, and pairs of what is left are pooled."""
    return ((frames - 1) // 2 + 1) // 2


def request(
    rows: Sequence[dict[str, Any]],
    seconds: str | None = None,
    stamped: bool = False,
    types: bool = True,
    sound: Callable[[int], int] = by_chunks,
) -> dict[str, Any]:
    """Images as (y, x) and videos as (t, y, x) in output units, clips as numbers of mel frames.

    Args:
        rows: of the batch.
        seconds: name of the input that tells the pace of videos.
        stamped: whether a video's frames stand behind time stamps of their own.
        types: whether the model gets token types.
        sound: tokens of a clip.
    """
    ids: list[list[int]] = []
    media: dict[str, list[Tensor]] = {"image": [], "video": []}
    grids: dict[str, list[list[int]]] = {"image": [], "video": []}
    clips, masks = [], []
    for row in rows:
        line = [1, *USER, *words(row["seed"] + 100, 2)]
        for kind, token in (("image", 9), ("video", 10)):
            for j, shape in enumerate(row.get(kind, ())):
                t, y, x = (1, *shape) if kind == "image" else shape
                media[kind].append(noise(row["seed"] * 10 + j, t * y * x * 4, 3 * 2 * 4 * 4))
                grids[kind].append([t, 2 * y, 2 * x])
                if stamped and kind == "video":
                    for frame in range(t):
                        line += [14, 15 + frame, 7, *[token] * (y * x), 8]
                else:
                    line += [7, *[token] * (t * y * x), 8]
        for j, frames in enumerate(row.get("audio", ())):
            line += [12, *[11] * sound(frames), 13]
            clips.append(noise(row["seed"] * 10 + 7 + j, 16, 240))
            masks.append((torch.arange(240) < frames).long())
        ids.append([*line, *words(row["seed"], row.get("text", 4)), END, 6])
    out: dict[str, Any] = padded(ids)
    if types:
        out["mm_token_type_ids"] = torch.where(out["input_ids"] == 9, 1, torch.where(out["input_ids"] == 10, 2, 0))
    for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if media[kind]:
            out[name] = torch.cat(media[kind])
            out[f"{kind}_grid_thw"] = torch.tensor(grids[kind])
    if media["video"] and seconds is not None:
        out[seconds] = torch.ones(len(media["video"]))
    if clips:
        out |= {"input_features": torch.stack(clips), "feature_attention_mask": torch.stack(masks)}
    return out


QWEN = (
    Family("qwen2_vl", qwen2_vl, ROWS, request),
    Family("qwen2_5_vl", qwen2_5_vl, ROWS, partial(request, seconds="second_per_grid_ts")),
    Family("qwen3_vl", qwen3_vl, ROWS, partial(request, stamped=True)),
    Family("qwen3_vl_moe", qwen3_vl_moe, ROWS, partial(request, stamped=True)),
    Family("qwen3_5", qwen3_5, ROWS, partial(request, stamped=True), TRIED_SINCE),
    Family("qwen3_5_moe", qwen3_5_moe, ROWS, partial(request, stamped=True), TRIED_SINCE),
    Family(
        "qwen2_5_omni",
        qwen2_5_omni,
        (*OMNI_ROWS, {"audio": [133], "seed": 5}),
        partial(request, seconds="video_second_per_grid", types=False, sound=by_pairs),
        OMNI_SINCE,
    ),
    Family(
        "qwen3_omni",
        qwen3_omni,
        (*OMNI_ROWS, {"audio": [233], "seed": 5}),
        partial(request, seconds="video_second_per_grid", types=False),
        OMNI_SINCE,
    ),
)
