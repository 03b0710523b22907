"""Bipartite soft matching (ToMe, 2210.09461, section 3): tokens in even places flow into tokens in odd ones."""

from __future__ import annotations

from autotc.lazy import Tensor, torch
from autotc.mechanisms.grouping import group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


def merge_rounds(
    weighted: Tensor,
    valid: Tensor,
    budget: Tensor,
    reluctance: Tensor | None = None,
    window: int | None = None,
    threshold: float | None = None,
) -> Tensor:
    """Rounds of bipartite soft matching, each of which removes at most half of what is left.

    Args:
        weighted: (B, N, D) float, what is matched, times mass; zeros on padding.
        valid: (B, N) bool; padding may stand anywhere.
        budget: (B,) long, at least 1 where the row has tokens, at most its tokens.
        reluctance: (B, N) float, taken off a token's cosines when those who leave are chosen; tokens that meet in a
            round have its plain mean from then on.
        window: most places, of what is left in a round, between two that merge; None for any.
        threshold: cosine above which pairs merge in the first round whatever the budget; None for none.

    Returns:
        (B, N) long, the token that each has flowed into; itself for survivors and padding.
    """
    place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
    root = place.clone()
    left = valid.sum(1)
    while (threshold is not None and bool((left > 1).any())) or bool((left > budget).any()):
        # Cosine ignores scale, so the sum stands for the mean.
        sums = torch.zeros_like(weighted).scatter_add_(1, root[..., None].expand_as(weighted), weighted)
        unit = sums / sums.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        alive = (root == place) & valid
        order = (~alive).int().argsort(dim=1, stable=True)[:, : int(left.max())]
        present = place[:, : order.shape[1]] < left[:, None]
        source, sink = order[:, 0::2], order[:, 1::2]
        wide = (-1, -1, unit.shape[2])
        similarity = torch.bmm(
            unit.gather(1, source[..., None].expand(wide)), unit.gather(1, sink[..., None].expand(wide)).mT
        ).masked_fill(~present[:, None, 1::2], -torch.inf)
        if window is not None:
            apart = torch.arange(order.shape[1], device=order.device)
            similarity = similarity.masked_fill((apart[0::2, None] - apart[1::2]).abs() > window, -torch.inf)
        best, match = similarity.max(-1)
        if reluctance is not None:
            best = best - reluctance.gather(1, source)
        removed = torch.minimum(left - budget, left // 2).clamp_min(0)
        if threshold is not None:
            removed = removed.maximum((present[:, 0::2] & (best > threshold)).sum(1))
            threshold = None
        leaves = top_mask(best, removed, present[:, 0::2])
        step = place.scatter(1, source, torch.where(leaves, sink.gather(1, match), source))
        root = step.gather(1, root)
        if reluctance is not None:
            zero = torch.zeros_like(reluctance)
            met = zero.scatter_add(1, step, alive.float()).clamp_min(1.0)
            reluctance = zero.scatter_add(1, step, reluctance * alive) / met
        left = left - removed
    return root


def merge_within(tokens: Tokens, group: Tensor, quota: Tensor) -> Reduction:
    """Rounds of matching on the features within each group, until it has its share; averages by mass.

    Args:
        tokens: the items.
        group: (B, N) long, in [0, G).
        quota: (B, G) long, survivors of each group, at least 1 where it has tokens.
    """
    valid = tokens.valid
    rows = group_rows(group.masked_fill(~valid, 0), valid, quota.shape[1])
    held = (rows >= 0).any(1)
    rows, quota = rows[held], quota.flatten()[held]
    present = rows >= 0
    weighted = tokens.features.float().masked_fill(~valid[..., None], 0.0) * tokens.mass.float()[..., None]
    packed = weighted.flatten(0, 1)[rows.clamp_min(0)].masked_fill(~present[..., None], 0.0)
    root = rows.gather(1, merge_rounds(packed, present, quota))
    target = torch.full((valid.numel(),), -1, dtype=torch.long, device=valid.device)
    target[rows[present]] = root[present] % valid.shape[1]
    target = target.view(valid.shape)
    place = torch.arange(valid.shape[1], device=valid.device)
    return Reduction.merge(valid & (target == place), target, tokens.mass)
