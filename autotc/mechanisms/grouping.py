"""Tokens in groups: how many, how alike, their means, and merging each into one of its tokens."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.selection import rank_in_group, top_mask, unit
from autotc.mechanisms.tokens import Tokens


def count_groups(group: Tensor, valid: Tensor, groups: int) -> Tensor:
    """Tokens in each group, (B, G) long, of group numbers (B, N) in [0, G)."""
    out = torch.zeros(group.shape[0], groups, dtype=torch.long, device=group.device)
    return out.scatter_add_(1, group.masked_fill(~valid, 0), valid.long())


def group_rows(group: Tensor, valid: Tensor, groups: int) -> Tensor:
    """The tokens of each group as a row of their own.

    Args:
        group: (B, N) long, in [0, groups).
        valid: (B, N) bool.
        groups: how many.

    Returns:
        (B x groups, P) long: places in the flattened (B x N) tokens, ascending; -1 pads on the right.
    """
    clean = group.masked_fill(~valid, 0)
    rank = rank_in_group(torch.zeros(valid.shape, device=valid.device), clean, valid)
    width = int(count_groups(clean, valid, groups).max()) if valid.numel() else 0
    out = torch.full((valid.shape[0] * groups, width), -1, dtype=torch.long, device=valid.device)
    row, token = valid.nonzero(as_tuple=True)
    out[row * groups + clean[row, token], rank[row, token]] = row * valid.shape[1] + token
    return out


def group_mean(values: Tensor, group: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Weighted mean of the tokens of each group, (B, G, D) in at least float32; zeros where the weights are.

    Args:
        values: (B, N, D) float; where the weight is 0 they may be NaN.
        group: (B, N) long, in [0, groups).
        weight: (B, N) float, not negative.
        groups: how many.
    """
    weight = weight.to(torch.promote_types(values.dtype, torch.float32))
    part = values.to(weight.dtype).masked_fill(weight[..., None] == 0, 0.0) * weight[..., None]
    total = part.new_zeros(part.shape[0], groups, part.shape[2])
    total.scatter_add_(1, group[..., None].expand_as(part), part)
    share = weight.new_zeros(weight.shape[0], groups).scatter_add_(1, group, weight)
    return total / share.masked_fill(share == 0, 1.0)[..., None]


def group_cosine(scaled: Tensor, group: Tensor, valid: Tensor, groups: int) -> Tensor:
    """Mean cosine over the pairs of tokens of each group, (B, G) float32; 0 where there is no pair.

    Args:
        scaled: (B, N, D) float, of norm 1.
        group: (B, N) long, in [0, groups).
        valid: (B, N) bool, the tokens that count.
        groups: how many.
    """
    clean = group.masked_fill(~valid, 0)
    part = scaled.float().masked_fill(~valid[..., None], 0.0)
    total = part.new_zeros(part.shape[0], groups, part.shape[2])
    total.scatter_add_(1, clean[..., None].expand_as(part), part)
    self_products = part.new_zeros(part.shape[0], groups).scatter_add_(1, clean, part.square().sum(2))
    size = count_groups(clean, valid, groups)
    return (total.square().sum(2) - self_products) / (size * (size - 1)).clamp_min(1)


def neighbour_cosine(values: Tensor, valid: Tensor, back: int = 1) -> Tensor:
    """Cosine of each token to the one ``back`` places before, (B, N) float; -inf where there is none.

    Args:
        values: (B, N, D) float. Multiplies (N - back) x D.
        valid: (B, N) bool.
    """
    scaled, back = unit(values, valid), min(back, valid.shape[1])
    out = torch.full(valid.shape, -torch.inf, device=valid.device)
    out[:, back:] = torch.einsum("bnd,bnd->bn", scaled[:, back:], scaled[:, : valid.shape[1] - back])
    there = torch.zeros_like(valid)
    there[:, back:] = valid[:, back:] & valid[:, : valid.shape[1] - back]
    return out.masked_fill(~there, -torch.inf)


def linked_runs(link: Tensor, budget: Tensor, valid: Tensor, threshold: float | None = None) -> Tensor:
    """Join tokens to the one before, the strongest links first, until ``budget`` runs are left; ties go to the earlier.

    Args:
        link: (B, N) float, of each token to the one before; -inf where there is none.
        budget: (B,) long.
        valid: (B, N) bool.
        threshold: links above it join whatever the budget; None for none.

    Returns:
        (B, N) long, the first token of each token's run; -1 on padding.
    """
    pairs = valid & (link > -torch.inf)
    links = valid.sum(1) - budget
    if threshold is not None:
        links = links.maximum((pairs & (link > threshold)).sum(1))
    joined = top_mask(link, links, pairs)
    place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    return torch.where(valid & ~joined, place, -1).cummax(1).values.masked_fill(~valid, -1)


def neighbour_runs(
    keys: Tensor, budget: Tensor, valid: Tensor, threshold: float | None = None, opens: Tensor | None = None
) -> Tensor:
    """`linked_runs` of the cosine between neighbours.

    Args:
        keys: (B, N, D) float.
        budget, valid, threshold: as of `linked_runs`.
        opens: (B, N) bool, tokens that open a line: they join the line before after all other pairs, and only for the
            budget's sake; None for one line.
    """
    cosine = neighbour_cosine(keys, valid)
    if opens is not None:
        cosine = torch.where(opens, cosine - 4.0, cosine)
    return linked_runs(cosine, budget, valid, threshold)


def merge_boxes(box: Tensor, centre: Tensor, members: Tensor, mass: Tensor) -> Reduction:
    """Each box of tokens becomes its average by mass, at the position of its centre.

    Args:
        box: (B, N) long, number of each token's box, from 0.
        centre: (B, N) bool, one token of each box.
        members: (B, N) bool; tokens outside are dropped.
        mass: (B, N) float.
    """
    centre = centre & members
    row, at = centre.nonzero(as_tuple=True)
    token = torch.zeros_like(box)
    token[row, box[row, at]] = at
    target = token.gather(1, box.masked_fill(~members, 0)).masked_fill(~members, -1)
    return Reduction.merge(centre, target, mass)


def merge_groups(
    tokens: Tokens, group: Tensor, similarity: Tensor, threshold: float, spare: Tensor | None
) -> tuple[Reduction, Tensor]:
    """Tokens of each group above a threshold flow into the group's first token, averaged by mass.

    Args:
        tokens: the items.
        group: (B, N) long, in [0, G).
        similarity: (B, G) float, of each group.
        threshold: groups above it merge.
        spare: (B,) long, most tokens that may go: the most similar groups merge, as far as it lasts; None for no limit.

    Returns:
        The reduction, and the tokens (B, N) bool of the groups that merge.
    """
    valid = tokens.valid
    clean = group.masked_fill(~valid, 0)
    size = count_groups(clean, valid, similarity.shape[1])
    merging = (similarity > threshold) & (size > 1)
    if spare is not None:
        order = similarity.masked_fill(~merging, -torch.inf).argsort(dim=1, descending=True, stable=True)
        spent = ((size - 1) * merging).gather(1, order).cumsum(1)
        merging = merging & torch.zeros_like(merging).scatter(1, order, spent <= spare[:, None])
    merged = merging.gather(1, clean) & valid
    place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    first = torch.full_like(size, valid.shape[1])
    first.scatter_reduce_(1, clean, place.masked_fill(~valid, valid.shape[1]), "amin")
    target = torch.where(merged, first.gather(1, clean), place)
    return Reduction.merge(valid & (target == place), target.masked_fill(~valid, -1), tokens.mass), merged


def weighted(kept: Tensor, *edges: tuple[Tensor, Tensor, Tensor, Tensor]) -> Reduction:
    """Survivors as weighted sums of tokens, from edges that name the surviving token each leads to.

    Args:
        kept: (B, N) bool, the survivors.
        edges: sets of (row, source, target, weight), each (E,): the token ``source`` enters the survivor ``target``.
    """
    column = kept.cumsum(1) - 1
    row, source, target, weight = (torch.cat(parts) for parts in zip(*edges, strict=True))
    return Reduction.linear(kept, row, source, column[row, target], weight)
