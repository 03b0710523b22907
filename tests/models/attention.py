"""Attention implementations: switching a model's, and a stand-in that enforces flash attention's contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flash_attention_mask

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


AttentionInterface.register(FLASH, flash_stand_in)
AttentionMaskInterface.register(FLASH, flash_attention_mask)


@contextmanager
def attention(model: nn.Module, name: str | None) -> Iterator[None]:
    """The model with another attention implementation in all of its parts; None leaves it."""
    configs: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if name is not None and hasattr(config, "_attn_implementation"):
            configs[id(config)] = config
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
