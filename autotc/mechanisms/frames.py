"""Tokens of a video frame by frame."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.tokens import Tokens


def frame_tokens(tokens: Tokens) -> Tensor:
    """Tokens of one frame of each row, (B, 1) long."""
    size = (tokens.grid + 1).masked_fill(~tokens.valid[..., None], 1).amax(1)
    return (size[:, 1] * size[:, 2])[:, None]


def present_frames(tokens: Tokens) -> Tensor:
    """Number of each token's frame among the frames that still hold tokens, (B, N) long, from 0; 0 on padding."""
    frame = tokens.grid[..., 0].masked_fill(~tokens.valid, 0)
    held = torch.zeros(frame.shape[0], int(frame.max()) + 1, dtype=torch.long, device=frame.device)
    held.scatter_reduce_(1, frame, tokens.valid.long(), "amax")
    return (held.cumsum(1) - 1).gather(1, frame).masked_fill(~tokens.valid, 0)


def change(tokens: Tokens, back: Tensor) -> Tensor:
    """1 - cosine of each token to the same place some frames before.

    Args:
        tokens: rows that are full grids in raster order.
        back: (B, N) long, how many frames before; values on the first ``back`` frames are undefined.

    Returns:
        (B, N) float.
    """
    unit = tokens.unit_features()
    place = torch.arange(unit.shape[1], device=unit.device)
    before = (place - back * frame_tokens(tokens)).clamp_min(0)
    other = unit.gather(1, before[..., None].expand_as(unit))
    return 1.0 - torch.einsum("bnd,bnd->bn", unit, other)
