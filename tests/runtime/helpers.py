"""Requests and references that the runtime's tests share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autotc.models import find_adapter
from autotc.policy import Policy, Stage
from autotc.tiny.config import build_model, build_processor

Media = dict[str, Any]


@cache
def model() -> Any:
    return build_model(seed=3).eval()


@cache
def processor() -> Any:
    return build_processor()


def media(seed: int, *, image: int | None = None, video: int | None = None, audio: float | None = None) -> Media:
    """One row's media: image side in pixels, frames of a video, seconds of audio."""
    rng = np.random.default_rng(seed)
    out: Media = {}
    if image is not None:
        out["images"] = rng.integers(0, 255, (image, image, 3), dtype=np.uint8)
    if video is not None:
        out["videos"] = rng.integers(0, 255, (video, 64, 64, 3), dtype=np.uint8)
    if audio is not None:
        out["audio"] = (rng.normal(0, 0.1, int(16000 * audio))).astype(np.float32)
    return out


def request(rows: Sequence[Media], words: str = "digit red", call: Any = None) -> dict[str, Any]:
    """Model inputs of a batch, one row per entry; left-padded."""
    kinds = {"images": "image", "videos": "video", "audio": "audio"}
    texts = []
    for row in rows:
        content: list[dict[str, str]] = [{"type": kinds[k]} for k in row]
        content.append({"type": "text", "text": words})
        turn = [{"role": "user", "content": content}]
        texts.append(processor().apply_chat_template(turn, tokenize=False, add_generation_prompt=True))
    extra: dict[str, Any] = {key: [row[key] for row in rows if key in row] for key in kinds}
    extra = {key: value for key, value in extra.items() if value}
    size = dict(processor().video_processor.size)
    sized = {"size": size, "do_sample_frames": False, "cap_pixels_per_frame": False}
    return (call or processor())(text=texts, return_tensors="pt", padding=True, videos_kwargs=sized, **extra)


def single(
    modality: str, location: str, mechanism: str, ratio: float, layer: int | None = None, **params: Any
) -> Policy:
    stage = Stage(
        modality=modality, location=location, mechanism=mechanism, keep_ratio=ratio, layer=layer, params=params
    )  # type: ignore[arg-type]
    return Policy.of([stage])


def snapshot(module: nn.Module) -> dict[str, Any]:
    """Hooks, attributes and buffers of every submodule, to compare before and after."""
    out: dict[str, Any] = {}
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs")
    for name, part in module.named_modules():
        out[name] = (
            sorted(part.__dict__),
            {h: list(getattr(part, h).items()) for h in hooks},
            part.__dict__.get("forward"),
            {k: id(v) for k, v in part._buffers.items()},
            str(getattr(part, "config", "")),
        )
    return out


@torch.no_grad()
def embeddings(inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Merged embeddings (B, L, D) and position ids of a request, as the language model would get them."""
    caught: dict[str, Tensor] = {}

    def catch(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        caught.update({k: v for k, v in kwargs.items() if isinstance(v, Tensor)})

    handle = find_adapter(model()).language_model(model()).register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model()(**inputs)
    finally:
        handle.remove()
    return caught["inputs_embeds"], caught["position_ids"]


@torch.no_grad()
def masked_logits(embeds: Tensor, positions: Tensor, hidden_from: Tensor, pad: Tensor) -> Tensor:
    """Logits of the uncompressed decoder with tokens hidden as keys from a layer on.

    Args:
        embeds, positions: of the request.
        hidden_from: (B, L) long, first layer from which a token is hidden; the number of layers if never.
        pad: (B, L) bool, padding.
    """
    language = find_adapter(model()).language_model(model())
    _b, length, _ = embeds.shape
    causal = torch.ones(length, length, dtype=torch.bool).tril()

    def mask_for(layer: int) -> Tensor:
        seen = causal[None] & ~(hidden_from <= layer)[:, None, :] & ~pad[:, None, :]
        seen = seen | torch.eye(length, dtype=torch.bool)
        return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[:, None]

    handles = []
    for i, layer in enumerate(language.layers):

        def swap(module: nn.Module, args: Any, kwargs: dict[str, Any], i: int = i) -> Any:
            return args, kwargs | {"attention_mask": mask_for(i)}

        handles.append(layer.register_forward_pre_hook(swap, with_kwargs=True))
    try:
        out = language(inputs_embeds=embeds, position_ids=positions, attention_mask=mask_for(0), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return model().lm_head(out.last_hidden_state)
