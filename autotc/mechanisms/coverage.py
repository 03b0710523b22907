"""Greedy choice of tokens that cover others."""

from __future__ import annotations

from autotc.lazy import Tensor, torch

_BLOCK = 32
"""Candidates looked at again at once."""


def _total(values: Tensor) -> Tensor:
    """Sum over the last axis in float64, to nine decimals: rounding must not choose between equals."""
    return (values.sum(-1, dtype=torch.float64) * 1e9).round() / 1e9


def greedy_coverage(value: Tensor, weight: Tensor, preference: Tensor | None, budget: Tensor, valid: Tensor) -> Tensor:
    """Add, one by one, the candidate of the largest gain: how much better what is to be covered is covered with it.

    Each of the R things to cover is worth its weight times the value of the candidate that covers it best. The sum is
    submodular, so an old gain bounds the present one: as in lazy greedy, only candidates of the highest old gains are
    computed again, here in blocks, until the best of all is up to date. The choice is that of plain greedy; ties go to
    the earlier candidate.

    Args:
        value: (B, N, R), how well a candidate covers each thing, at least 0.
        weight: (B, R), at least 0.
        preference: (B, N), at least 0, factor of each candidate's gain; None for 1.
        budget: (B,) long, candidates to choose.
        valid: (B, N) bool, those that can be chosen.

    Returns:
        (B, N) bool, the chosen.
    """
    rows = torch.arange(valid.shape[0], device=valid.device)
    weight, factor = weight[:, None], torch.ones_like(value[..., 0]) if preference is None else preference
    factor = factor.double()
    gain = (_total(value * weight) * factor).masked_fill(~valid, -torch.inf)
    covered = torch.zeros(value.shape[0], value.shape[2], dtype=torch.float64, device=value.device)
    fresh, chosen = torch.ones_like(valid), torch.zeros_like(valid)
    block = min(_BLOCK, valid.shape[1])
    for step in range(int(budget.max())):
        open_row = step < budget
        best = gain.argmax(1)
        while bool((open_row & ~fresh[rows, best]).any()):
            stale = gain.masked_fill(fresh, -torch.inf).topk(block, dim=1).indices
            closer = value.gather(1, stale[..., None].expand(-1, -1, value.shape[2])).double() - covered[:, None]
            latest = _total(closer.clamp_min(0.0) * weight) * factor.gather(1, stale)
            old = gain.gather(1, stale)
            gain.scatter_(1, stale, torch.where(old.isfinite(), latest.minimum(old), old))
            fresh.scatter_(1, stale, torch.ones_like(stale, dtype=torch.bool))
            best = gain.argmax(1)
        chosen[rows, best] |= open_row
        gain[rows, best] = -torch.inf
        covered = torch.maximum(covered, value[rows, best].double())
        fresh = chosen.clone()
    return chosen & valid


def cosine_table(unit: Tensor, least: float = 0.0) -> Tensor:
    """(B, N, N) cosines of unit vectors (B, N, D), those below ``least`` as ``least``, symmetric to the last bit."""
    cosine = torch.bmm(unit, unit.mT)
    # Two tokens that cover none but each other gain the same: rounding must not choose between them.
    cosine = ((cosine + cosine.mT) / 2).clamp_min(least)
    cosine.diagonal(dim1=1, dim2=2).round_()
    return cosine


def covered_alone(value: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
    """How much worse what is to be covered would be without each of the chosen candidates, (B, N).

    Args:
        value: (B, R, N), how well each thing is covered by a candidate.
        weight: (B, R), of each thing.
        chosen: (B, N) bool; where one is chosen alone, what it covers counts in full.
    """
    pad = (0, max(0, 2 - chosen.shape[1]))
    among = torch.nn.functional.pad(value.masked_fill(~chosen[:, None], -torch.inf), pad, value=-torch.inf)
    best, at = among.topk(2, dim=2)
    best = best.masked_fill(best.isinf(), 0.0)
    ahead = (best[..., 0] - best[..., 1]).clamp_min(0.0) * weight
    return torch.zeros_like(value[:, 0]).scatter_add_(1, at[..., 0].clamp_max(chosen.shape[1] - 1), ahead)
