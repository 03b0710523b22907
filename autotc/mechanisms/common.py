"""Steps that several published methods share: per-group budgets, density peaks, merging into the nearest survivor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from autotc.mechanisms.base import Reduction, Tokens, top_mask


def frame_tokens(tokens: Tokens) -> Tensor:
    """Tokens of one frame of each row, (B, 1) long."""
    size = (tokens.grid + 1).masked_fill(~tokens.valid[..., None], 1).amax(1)
    return (size[:, 1] * size[:, 2])[:, None]


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


def unit(values: Tensor, valid: Tensor) -> Tensor:
    """Values (B, N, D) at norm 1, zeros on padding and where the norm is zero, in at least float32."""
    clean = values.float().masked_fill(~valid[..., None], 0.0)
    out: Tensor = clean / clean.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    return out


def min_max(score: Tensor, valid: Tensor) -> Tensor:
    """Scores (B, N) scaled to [0, 1] over the valid tokens of each row; zeros where all are equal and on padding."""
    score = torch.nan_to_num(score.float())
    low = score.masked_fill(~valid, torch.inf).amin(1, keepdim=True)
    high = score.masked_fill(~valid, -torch.inf).amax(1, keepdim=True)
    return ((score - low) / torch.where(high > low, high - low, 1.0)).masked_fill(~valid, 0.0)


def count_groups(group: Tensor, valid: Tensor, groups: int) -> Tensor:
    """Tokens in each group, (B, G) long, of group numbers (B, N) in [0, G)."""
    out = torch.zeros(group.shape[0], groups, dtype=torch.long, device=group.device)
    return out.scatter_add_(1, group.masked_fill(~valid, 0), valid.long())


def allocate(budget: Tensor, weight: Tensor, capacity: Tensor, least: int = 0) -> Tensor:
    """Split a budget over groups in proportion to weights, by largest remainders, exactly.

    What a full group cannot take goes to the others in proportion to their weights; groups of equal remainder are
    served in order.

    Args:
        budget: (B,) long, at most the row's capacity in all.
        weight: (B, G) float, not negative; a row of zeros counts as equal weights.
        capacity: (B, G) long, most that each group can take; 0 for absent groups.
        least: what every group gets first (up to its capacity), as far as the budget goes, earlier groups first.

    Returns:
        (B, G) long, between 0 and the capacity, summing to the budget.
    """
    given = capacity.clamp_max(least)
    over = (given.cumsum(1) - budget[:, None]).clamp_min(0)
    given = (given - over).clamp_min(0)
    room = (capacity - given).double()
    left = (budget - given.sum(1)).double()[:, None]
    weight = torch.nan_to_num(weight.double()).clamp_min(0)
    sharing = room > 0
    share = torch.zeros_like(room)
    # Groups that their share would overfill are filled and leave the sharing; at least one does in every round.
    for _ in range(room.shape[1]):
        open_weight = torch.where(sharing, weight, 0.0)
        open_weight = torch.where(open_weight.sum(1, keepdim=True) > 0, open_weight, sharing.double())
        rest = left - share.masked_fill(sharing, 0.0).sum(1, keepdim=True)
        ideal = rest * open_weight / open_weight.sum(1, keepdim=True).clamp_min(1e-300)
        share = torch.where(sharing, ideal, share)
        full = sharing & (ideal > room - 1e-9)
        if not bool(full.any()):
            break
        share = torch.where(full, room, share)
        sharing &= ~full
    whole = (share + 1e-9).floor()
    remainder = ((share - whole) * 1e6).round()  # shares that rounding errors alone tell apart are equal
    order = remainder.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
    )
    more = rank < left - whole.sum(1, keepdim=True)
    return given + whole.long() + more.long()


def rank_in_group(score: Tensor, group: Tensor, valid: Tensor) -> Tensor:
    """Rank of each token within its group by falling score, from 0; ties go to the earlier token.

    Args:
        score: (B, N) float; NaN ranks last.
        group: (B, N) long, from 0.
        valid: (B, N) bool.

    Returns:
        (B, N) long; undefined on padding.
    """
    score = torch.nan_to_num(score.float(), nan=-3e38, posinf=3e38, neginf=-3e38)
    key = torch.where(valid, group, int(group.max()) + 1 if group.numel() else 0)
    order = score.argsort(dim=1, descending=True, stable=True)
    order = order.gather(1, key.gather(1, order).argsort(dim=1, stable=True))
    sorted_key = key.gather(1, order)
    place = torch.arange(key.shape[1], device=key.device).expand_as(key)
    fresh = torch.ones_like(valid)
    fresh[:, 1:] = sorted_key[:, 1:] != sorted_key[:, :-1]
    start = torch.where(fresh, place, 0).cummax(1).values
    return torch.empty_like(order).scatter_(1, order, place - start)


def top_per_group(score: Tensor, group: Tensor, count: Tensor, valid: Tensor) -> Tensor:
    """Mask (B, N) of the ``count[b, g]`` highest-scoring valid tokens of each group; ``count`` (B, G) long."""
    rank = rank_in_group(score, group, valid)
    return valid & (rank < count.gather(1, group.masked_fill(~valid, 0)))


def nearest(values: Tensor, among: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """For each token the most similar one of a set, by cosine; ties go to the earlier.

    Multiplies N x M x D, where M is the size of the largest row's set.

    Args:
        values: (B, N, D) float.
        among: (B, N) bool, the set; a row without any gives token 0 with similarity -inf.
        valid: (B, N) bool.

    Returns:
        index (B, N) long and cosine (B, N) float; undefined on padding.
    """
    scaled = unit(values, valid)
    chosen = Reduction.select(among & valid)
    cosine = torch.bmm(scaled, chosen.apply(scaled).mT)
    if cosine.shape[2] == 0:
        return torch.zeros_like(among, dtype=torch.long), cosine.new_full(among.shape, -torch.inf)
    best, at = cosine.masked_fill((chosen.keep < 0)[:, None], -torch.inf).max(2)
    return chosen.keep.gather(1, at).clamp_min(0), best


def density_peaks(
    distance: Tensor, valid: Tensor, neighbours: int | Tensor, itself: bool = False
) -> tuple[Tensor, Tensor]:
    """Density and separation of DPC-KNN (Du et al. 2016, equations 6 and 4).

    Args:
        distance: (B, N, N) float, between tokens of a row, not negative.
        valid: (B, N) bool.
        neighbours: k of the k nearest tokens; (B,) long for a k of each row's own.
        itself: whether a token counts among its nearest, at distance 0, as in the code of TCFormer that many copied.

    Returns:
        density (B, N), exp(-mean squared distance to the k nearest), and separation (B, N), the distance to the nearest
        token of higher density (of equal density: an earlier one), for the densest the largest distance of its row.
        Cluster centres are the tokens of highest density x separation. Zeros on padding.
    """
    n = valid.shape[1]
    both = valid[:, :, None] & valid[:, None, :]
    own = torch.eye(n, dtype=torch.bool, device=valid.device)
    k = torch.as_tensor(neighbours, device=valid.device).expand(valid.shape[0])
    others = distance.masked_fill(~both, torch.inf)
    others = others.masked_fill(own, 0.0 if itself else torch.inf)
    near = others.topk(min(int(k.max()), n), dim=2, largest=False).values
    real = near.isfinite() & (torch.arange(near.shape[2], device=valid.device) < k[:, None, None])
    mean = near.masked_fill(~real, 0.0).square().sum(2) / real.sum(2).clamp_min(1)
    density = (-mean).exp().masked_fill(~valid, 0.0)
    earlier = torch.ones(n, n, dtype=torch.bool, device=valid.device).tril(-1)
    higher = (density[:, None, :] > density[:, :, None]) | ((density[:, None, :] == density[:, :, None]) & earlier)
    separation = distance.masked_fill(~(higher & both), torch.inf).amin(2)
    widest = distance.masked_fill(~both, 0.0).amax((1, 2))
    separation = torch.where(separation.isfinite(), separation, widest[:, None]).masked_fill(~valid, 0.0)
    return density, separation


def cosine_distance(scaled: Tensor) -> Callable[[Tensor], Tensor]:
    """1 - cosine of one token of each row to all of the row, for `farthest_first`.

    Args:
        scaled: (B, N, D) float, of norm 1.

    Returns:
        A function from an index (B,) to distances (B, N). Multiplies N x D.
    """
    rows = torch.arange(scaled.shape[0], device=scaled.device)
    return lambda index: 1.0 - torch.bmm(scaled, scaled[rows, index][:, :, None])[:, :, 0]


def farthest_first(
    distance: Callable[[Tensor], Tensor],
    nearest: Tensor,
    chosen: Tensor,
    budget: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
) -> Tensor:
    """Add tokens one by one, each the farthest from all chosen before, until every row has its budget.

    Asks for the distances of every token it adds but the last. Ties go to the earlier token.

    Args:
        distance: from a token of each row (B,) to distances to all tokens of the row (B, N).
        nearest: (B, N) float, each token's distance to the nearest chosen one; infinite in rows without any.
        chosen: (B, N) bool, to start from.
        budget: (B,) long, chosen tokens in the end; rows that start with as many or more gain none.
        valid: (B, N) bool.
        weight: (B, N) float, not negative, what distances are multiplied by; None multiplies by 1.

    Returns:
        (B, N) bool.
    """
    rows = torch.arange(valid.shape[0], device=valid.device)
    chosen, count = chosen.clone(), chosen.sum(1)
    steps = int((budget - count).max())
    for step in range(steps):
        score = nearest.clamp_max(1e6)
        score = (score if weight is None else score * weight).masked_fill(chosen | ~valid, -torch.inf)
        best = score.argmax(1)
        chosen[rows, best] |= count < budget
        count = count + (count < budget).long()
        if step + 1 < steps:
            nearest = torch.minimum(nearest, distance(best))
    return chosen


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


def neighbour_runs(keys: Tensor, budget: Tensor, valid: Tensor, threshold: float | None = None) -> Tensor:
    """Join the neighbours most alike by cosine until ``budget`` runs are left; ties go to the earlier pair.

    Args:
        keys: (B, N, D) float.
        budget: (B,) long.
        valid: (B, N) bool.
        threshold: cosine above which pairs are joined whatever the budget; None for none.

    Returns:
        (B, N) long, the first token of each token's run; -1 on padding.
    """
    scaled = unit(keys, valid)
    cosine = torch.einsum("bnd,bnd->bn", scaled[:, 1:], scaled[:, :-1])
    pairs = valid[:, 1:] & valid[:, :-1]
    links = valid.sum(1) - budget
    if threshold is not None:
        links = links.maximum((pairs & (cosine > threshold)).sum(1))
    joined = torch.zeros_like(valid)
    joined[:, 1:] = top_mask(cosine, links, pairs)
    place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    return torch.where(valid & ~joined, place, -1).cummax(1).values.masked_fill(~valid, -1)


def distances(values: Tensor, valid: Tensor) -> Tensor:
    """Euclidean distances between the tokens of each row, (R, P, P) float32; zeros on the diagonal and on padding.

    Args:
        values: (R, P, D) float. Multiplies R x P^2 x D.
        valid: (R, P) bool.
    """
    clean = values.float().masked_fill(~valid[..., None], 0.0)
    # Distances do not see the origin; near the mean, less is lost to rounding.
    centred = clean - clean.sum(1, keepdim=True) / valid.sum(1).clamp_min(1)[:, None, None]
    square, product = centred.square().sum(2), torch.bmm(centred, centred.mT)
    squared = square[:, :, None] + square[:, None, :] - (product + product.mT)
    squared.diagonal(dim1=1, dim2=2).zero_()
    both = valid[:, :, None] & valid[:, None, :]
    return squared.clamp_min(0.0).sqrt().masked_fill(~both, 0.0)


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
    own = part.new_zeros(part.shape[0], groups).scatter_add_(1, clean, part.square().sum(2))
    size = count_groups(clean, valid, groups)
    return (total.square().sum(2) - own) / (size * (size - 1)).clamp_min(1)


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


def cluster_groups(
    values: Tensor, group: Tensor, count: Tensor, valid: Tensor, neighbours: int | Tensor
) -> tuple[Tensor, Tensor]:
    """DPC-KNN within each group, as the code of the video methods has it.

    The k nearest include the token itself; distances are divided by the square root of the width; every token belongs
    to the nearest centre.

    Args:
        values: (B, N, D) float. Multiplies B x G x P^2 x D, where P is the size of the largest group.
        group: (B, N) long, in [0, G).
        count: (B, G) long, centres wanted of each group, at most its size.
        valid: (B, N) bool, the tokens to cluster.
        neighbours: k; (B, G) long for a k of each group's own.

    Returns:
        centres (B, N) bool, and the centre (B, N) long that each token belongs to; -1 where its group has none, and
        outside ``valid``.
    """
    centres = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
    target = torch.full((valid.numel(),), -1, dtype=torch.long, device=valid.device)
    rows = group_rows(group, valid, count.shape[1])
    if rows.shape[1]:
        present = rows >= 0
        distance = distances(values.flatten(0, 1)[rows.clamp_min(0)], present) / values.shape[2] ** 0.5
        k = neighbours.flatten() if isinstance(neighbours, Tensor) else neighbours
        density, separation = density_peaks(distance, present, k, itself=True)
        centre = top_mask(density * separation, count.flatten(), present)
        own = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
        near = distance.masked_fill(~centre[:, None, :], torch.inf).argmin(2)
        into = rows.gather(1, torch.where(centre, own, near)) % valid.shape[1]
        into = into.masked_fill(~centre.any(1, keepdim=True), -1)
        centres[rows[present]] = centre[present]
        target[rows[present]] = into[present]
    return centres.view(valid.shape), target.view(valid.shape)


def present_frames(tokens: Tokens) -> Tensor:
    """Number of each token's frame among the frames that still hold tokens, (B, N) long, from 0; 0 on padding."""
    frame = tokens.grid[..., 0].masked_fill(~tokens.valid, 0)
    held = torch.zeros(frame.shape[0], int(frame.max()) + 1, dtype=torch.long, device=frame.device)
    held.scatter_reduce_(1, frame, tokens.valid.long(), "amax")
    return (held.cumsum(1) - 1).gather(1, frame).masked_fill(~tokens.valid, 0)


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
