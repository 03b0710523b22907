"""Choosing tokens: the highest scores of a row or of each group."""

from __future__ import annotations

from autotc.lazy import Tensor, torch


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


def top_mask(score: Tensor, count: Tensor, valid: Tensor) -> Tensor:
    """Mask of the ``count`` highest-scoring valid tokens of each row; ties go to the earlier token, NaN ranks last.

    Args:
        score: (B, N) float.
        count: (B,) long, at most the row's valid tokens.
        valid: (B, N) bool.

    Returns:
        (B, N) bool.
    """
    score = torch.nan_to_num(score.float(), nan=-3e38, posinf=3e38, neginf=-3e38).masked_fill(~valid, -torch.inf)
    order = score.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(score.shape[1], device=score.device).expand_as(order))
    return (rank < count[:, None]) & valid


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
