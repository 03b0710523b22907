"""Trees of alike tokens over time: each token may join one of the frame before."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.selection import top_per_group


def join_frame_before(
    cells: Tensor, token: Tensor, loose: Tensor, cut: Tensor, segment: Tensor, most: Tensor, threshold: float
) -> Tensor:
    """Tokens above a threshold join the token most like them in the frame before, the most alike of a segment first.

    Ties go to the earlier token. Multiplies B x (T - 1) x P^2 x D.

    Args:
        cells: (B, T, P, D) float, the tokens of each frame at norm 1; zeros on padding.
        token: (B, T, P) long, which token of its row each is; -1 on padding.
        loose: (B, T, P) bool, tokens that may join and be joined.
        cut: (B, T) long, segment of each frame; trees end at its borders.
        segment: (B, N) long, segment of each token.
        most: (B, T) long, most tokens that join, by segment.
        threshold: cosine above which tokens join.

    Returns:
        (B, N) long, the first token of each token's tree.
    """
    (batch, frames, width), n = token.shape, segment.shape[1]
    place = torch.arange(n, device=segment.device).expand_as(segment)
    if frames == 1 or width == 0:
        return place
    cosine = torch.bmm(cells[:, 1:].flatten(0, 1), cells[:, :-1].flatten(0, 1).mT).view(batch, -1, width, width)
    meets = (cut[:, 1:] == cut[:, :-1])[..., None, None] & loose[:, :-1, None]
    best, at = cosine.masked_fill(~meets, -torch.inf).max(3)
    row, frame, cell = loose[:, 1:].nonzero(as_tuple=True)
    child = token[row, frame + 1, cell]
    alike = cells.new_full(segment.shape, -torch.inf)
    alike[row, child] = best[row, frame, cell]
    parent = place.clone()
    parent[row, child] = token[row, frame, at[row, frame, cell]].clamp_min(0)
    root = torch.where(top_per_group(alike, segment, most, alike > threshold), parent, place)
    return first_ancestors(root, frames)


def first_ancestors(parent: Tensor, generations: int) -> Tensor:
    """The root of each token, (B, N) long, of parents (B, N), at most ``generations`` above it."""
    for _ in range(generations.bit_length()):
        parent = parent.gather(1, parent)
    return parent
