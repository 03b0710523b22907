"""Quadtrees over the tokens of each frame: their levels, the order in which cells split, and the cells that result."""

from __future__ import annotations

from typing import NamedTuple

from autotc.lazy import Tensor, torch
from autotc.mechanisms.grouping import count_groups, group_mean
from autotc.mechanisms.selection import rank_in_group, unit
from autotc.mechanisms.tokens import Tokens


class Level(NamedTuple):
    """A level of the trees.

    Attributes:
        cell, part: (B, N) long, each token's cell and the part of it that holds the token, both by their first token.
        cosine: (B, N) float, of the part's mean to the cell's.
        forced: (B, 1) bool, whether cells of this level are split in any case.
        halves: (B, 1) bool, whether a side is halved here; not where the item's frames are one cell already.
    """

    cell: Tensor
    part: Tensor
    cosine: Tensor
    forced: Tensor
    halves: Tensor


def tree_levels(tokens: Tokens, frame: Tensor, root_level: int) -> list[Level]:
    """The levels of every frame's tree, from the cells right above the tokens up to whole frames.

    Args:
        tokens: the items; a place may have lost its token.
        frame: (B, N) long, number of each token's frame.
        root_level: levels below the coarsest at which trees begin; cells above it are split in any case.
    """
    valid, mass = tokens.valid, tokens.mass.float()
    rows, n = valid.shape
    place = torch.arange(n, device=valid.device).expand(rows, n)
    at = tokens.grid[..., 1:].masked_fill(~valid[..., None], 0)
    side = at.amax(1) + 1
    # The coarsest level is the one where the shorter side has been halved to at most 2.
    coarsest, narrow = torch.zeros_like(side[:, :1]), side.amin(1, keepdim=True)
    while bool((narrow > 2).any()):
        coarsest, narrow = coarsest + (narrow > 2).long(), (narrow + 1) // 2
    begin = (coarsest - root_level).clamp_min(0)
    levels: list[Level] = []
    part, scaled = place, tokens.unit_features()
    while bool((side > 1).any()):
        # Sides are halved; an odd side leaves its first line alone.
        halves = (side > 1).any(1, keepdim=True)
        at, side = (at + (side % 2)[:, None]) // 2, (side + 1) // 2
        high, wide = int(side[:, 0].max()), int(side[:, 1].max())
        number = (frame * high + at[..., 0]) * wide + at[..., 1]
        first = torch.full((rows, (int(frame.max()) + 1) * high * wide), n, device=valid.device)
        first.scatter_reduce_(1, number, place.masked_fill(~valid, n), "amin")
        cell = torch.where(valid, first.gather(1, number), place)
        means = unit(group_mean(tokens.features, cell, mass, n), valid)
        cosine = (scaled * means.gather(1, cell[..., None].expand_as(means))).sum(2)
        levels.append(Level(cell, part, cosine, begin < len(levels) + 1, halves))
        part, scaled = cell, means
    return levels


def splits(levels: list[Level], valid: Tensor) -> tuple[Tensor, Tensor]:
    """Every part that can leave its cell, level by level from the coarsest: threshold from which it does, and part.

    Both (B, levels x N); infinite thresholds pad. A part leaves no earlier than its cell has left its own. Cells of one
    part (the corner of a level whose sides are both odd, or where tokens are gone) end their branch: what lies below
    leaves last.
    """
    rows, n = valid.shape
    place = torch.arange(n, device=valid.device)
    bound = torch.full((rows, n), -torch.inf, device=valid.device)
    cost, part = [bound[:, :0]], [place.expand(rows, n)[:, :0]]
    for level in reversed(levels):
        head = (level.part == place) & valid
        least = torch.full_like(bound, torch.inf)
        least.scatter_reduce_(1, level.cell, level.cosine.masked_fill(~head, torch.inf), "amin")
        parts = count_groups(level.cell, head, n).gather(1, level.cell)
        # Above the roots cells split before all others, and need no reason. A cell of one part is wholly like it: as in
        # the official code, no threshold splits it, whatever lies below.
        limit = torch.where(parts > 1, least.gather(1, level.cell), 1.0) - 4.0 * level.forced
        bound = torch.where(level.halves, torch.maximum(bound, limit), bound)
        rank = rank_in_group(-level.cosine, level.cell, head)
        leaves = head & (rank < parts - 1)
        order = (level.cell * 4 + rank).masked_fill(~leaves, 4 * n).argsort(dim=1, stable=True)
        cost.append(bound.masked_fill(~leaves, torch.inf).gather(1, order))
        part.append(order)
    return torch.cat(cost, 1), torch.cat(part, 1)


def leaves(levels: list[Level], done: Tensor, part: Tensor, valid: Tensor) -> Tensor:
    """The first token of each token's cell, (B, N) long, after the splits that are done."""
    rows, n = valid.shape
    place = torch.arange(n, device=valid.device).expand(rows, n)
    if not levels:
        return place
    label = levels[-1].cell
    for i, level in enumerate(reversed(levels)):
        span = slice(i * n, (i + 1) * n)
        left = torch.zeros_like(valid).scatter_(1, part[:, span], done[:, span]).gather(1, level.part)
        label = torch.where(left, level.part + (i + 1) * n, label)
    first = torch.full((rows, (len(levels) + 1) * n), n, device=valid.device)
    first.scatter_reduce_(1, label, place.masked_fill(~valid, n), "amin")
    return torch.where(valid, first.gather(1, label), place)
