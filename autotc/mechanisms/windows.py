"""Tokens in windows of time."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.tokens import Tokens


def windows(tokens: Tokens, seconds: float) -> Tensor:
    """Window of time that each token begins in, (B, N) long, from 0 at the row's first token; 0 on padding."""
    begin = tokens.box[..., 0].double()
    begin = begin - begin.masked_fill(~tokens.valid, torch.inf).amin(1, keepdim=True)
    # The allowance is for starts that are sums of hops, a rounding error below the end of a window.
    return (begin / seconds + 1e-4).floor().long().masked_fill(~tokens.valid, 0)
