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


def turned_by_place(tokens: Tokens, time_base: float, space_base: float) -> Tensor:
    """Features of norm 1, a third of the channels each rotated by time (seconds), row and column (Tango, 2604.09547).

    Args:
        tokens: the items.
        time_base, space_base: channel pair i of w turns by base ** (-i / w) for each second, row or column.

    Returns:
        (B, N, D) float32, zeros on padding. Thirds are even; the first takes the rest.
    """
    unit = tokens.unit_features()
    width = unit.shape[2]
    third = width // 6 * 2
    seconds = tokens.box[..., 0].masked_fill(~tokens.valid, 0.0).float()
    places = (seconds, tokens.grid[..., 1].float(), tokens.grid[..., 2].float())
    sizes, bases = (width - 2 * third, third, third), (time_base, space_base, space_base)
    out, start = unit.clone(), 0
    for place, size, base in zip(places, sizes, bases, strict=True):
        half = size // 2
        angle = place[..., None] * base ** (torch.arange(half, device=unit.device) / -max(half, 1))
        first, second = unit[..., start : start + half], unit[..., start + half : start + 2 * half]
        out[..., start : start + half] = first * angle.cos() - second * angle.sin()
        out[..., start + half : start + 2 * half] = second * angle.cos() + first * angle.sin()
        start += size
    return out.masked_fill(~tokens.valid[..., None], 0.0)


def _spots(tokens: Tokens) -> tuple[Tensor, int]:
    """Number of each token's place in its frame, (B, N) long, and how many there may be."""
    y, x = tokens.grid[..., 1].masked_fill(~tokens.valid, 0), tokens.grid[..., 2].masked_fill(~tokens.valid, 0)
    wide = int(x.max()) + 1
    return y * wide + x, (int(y.max()) + 1) * wide


def frame_likeness(tokens: Tokens, frame: Tensor) -> Tensor:
    """Mean cosine of every two frames over the places that both hold, (B, T, T) float32; 0 where there are none.

    Multiplies T^2 x P x (D + 1), P being the places of a frame.

    Args:
        tokens: no two of a frame at one place.
        frame: (B, N) long, from 0.
    """
    spot, places = _spots(tokens)
    row, at = tokens.valid.nonzero(as_tuple=True)
    where = (row, frame[row, at], spot[row, at])
    unit = tokens.unit_features()
    canvas = unit.new_zeros(unit.shape[0], int(frame.max()) + 1, places, unit.shape[2])
    held = canvas.new_zeros(canvas.shape[:3])
    canvas[where], held[where] = unit[row, at], 1.0
    flat = canvas.flatten(2)
    return torch.bmm(flat, flat.mT) / torch.bmm(held, held.mT).clamp_min(1.0)


def same_place_before(tokens: Tokens, frame: Tensor) -> Tensor:
    """The token at each token's place in the frame before, (B, N) long; -1 where there is none, and on padding."""
    spot, places = _spots(tokens)
    row, at = tokens.valid.nonzero(as_tuple=True)
    canvas = torch.full((frame.shape[0], int(frame.max()) + 2, places), -1, dtype=torch.long, device=frame.device)
    canvas[row, frame[row, at] + 1, spot[row, at]] = at
    out = torch.full_like(frame, -1)
    out[row, at] = canvas[row, frame[row, at], spot[row, at]]
    return out
