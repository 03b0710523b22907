"""Closeness of tokens to a centre, in the way of VidCom2 (2505.14454)."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.grouping import group_mean

_SCALES = tuple(2.0**k for k in range(-3, 2))


def steady_half(values: Tensor, valid: Tensor) -> Tensor:
    """The half of the channels that vary least over the tokens, (B, N, D // 2) float32; zeros on padding.

    Args:
        values: (B, N, D) float.
        valid: (B, N) bool.
    """
    hidden = ~valid[..., None]
    clean = values.float().masked_fill(hidden, 0.0)
    centre = group_mean(clean, torch.zeros_like(valid, dtype=torch.long), valid.float(), 1)
    spread = (clean - centre).square().masked_fill(hidden, 0.0).sum(1)
    half = spread.argsort(dim=1, stable=True)[:, : max(1, spread.shape[1] // 2)]
    return clean.gather(2, half[:, None].expand(-1, clean.shape[1], -1))


def closeness(values: Tensor, centre: Tensor) -> Tensor:
    """Sum of Gaussians of the distance to a centre, (B, N) float64, over the published scales.

    Args:
        values: (B, N, D) float.
        centre: (B, N, D) or (B, 1, D) float.
    """
    squared = (values - centre).square().sum(2).double()
    return torch.stack([(-squared / (2 * scale)).exp() for scale in _SCALES]).sum(0)
