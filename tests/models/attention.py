"""Attention implementations: switching a model's, and a stand-in that enforces flash attention's contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flash_attention_mask

from .building import Family

FLASH = "flash_attention_stand_in"
"""Name of the stand-in; transformers and the models take it for flash attention, because of how it begins."""


def flash_stand_in(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What flash attention computes from what it takes: no or a 2-D mask, packed segments, a window in tokens held."""
    assert attention_mask is None or (attention_mask.dim() == 2 and attention_mask.shape[1] == key.shape[2])
    assert not {"bias", "attn_bias", "score_mod"} & set(kwargs)
    b, h, q, d = query.shape
    k = key.shape[2]
    key, value = (x.repeat_interleave(h // key.shape[1], 1) for x in (key, value))
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    seen = torch.ones(b, q, k, dtype=torch.bool)
    behind = torch.arange(k - q, k)[:, None] - torch.arange(k)
    if cu_seq_lens_q is not None:
        assert attention_mask is None
        assert not causal
        part = torch.bucketize(torch.arange(k), cu_seq_lens_q[1:].long(), right=True)
        seen &= part[:, None] == part
    if causal:
        seen &= behind >= 0
    if sliding_window is not None:
        seen &= behind < sliding_window
    if attention_mask is not None:
        seen &= attention_mask.bool()[:, None]
    weights = query @ key.mT * (d**-0.5 if scaling is None else scaling)
    weights = weights.masked_fill(~seen[:, None], torch.finfo(weights.dtype).min).softmax(-1)
    out = (weights @ value).transpose(1, 2)
    if attention_mask is not None:
        # Unpadding leaves zeros at padded queries.
        out = out * attention_mask[:, -q:, None, None].to(out.dtype)
    return out, None


WITHOUT_FLASH = {
    "gemma3": "a picture's tokens see each other in both directions, which is more than a mask of padding",
    "gemma4": "a window counts the tokens left, and its sound tower takes the mask for one of four dimensions",
    "gemma4_moe": "a picture's tokens see each other in both directions, which is more than a mask of padding",
}
"""Families that do not run, or whose bare model computes something else, under flash attention, and why."""
PARTLY: dict[tuple[str, str], Callable[[dict[str, Any]], bool]] = {
    # Its sound tower takes the mask for a tensor.
    ("gemma4", "flex_attention"): lambda row: "audio" not in row,
    # Padded patches of a picture come out as zeros, and are parts of units.
    ("smolvlm", FLASH): lambda row: bool(row["seed"] != 2),
    ("idefics3", FLASH): lambda row: bool(row["seed"] != 2),
}
"""Rows for which a family's bare model computes under an attention what it does under sdpa, where not for all."""


def rows_under(family: Family, implementation: str) -> list[dict[str, Any]]:
    """The family's rows for which its bare model computes under an attention what it does under sdpa."""
    if implementation == FLASH and family.name in WITHOUT_FLASH:
        return []
    return [row for row in family.rows if PARTLY.get((family.name, implementation), bool)(row)]


AttentionInterface.register(FLASH, flash_stand_in)
AttentionMaskInterface.register(FLASH, flash_attention_mask)


@contextmanager
def attention(model: nn.Module, name: str) -> Iterator[None]:
    """The model with another attention implementation in all of its parts; sdpa, which it is made with, leaves them."""
    configs: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if name != "sdpa" and hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
