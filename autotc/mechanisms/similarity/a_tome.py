"""A-ToMe: merging of adjacent audio tokens (2306.16009)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autotc.mechanisms.base import Mechanism, Reduction, Score, Tokens, top_mask


class ATome(Mechanism):
    """Neighbours whose keys are most alike by cosine become one token, averaged by mass.

    The paper merges above a fixed threshold or at a fixed ratio, in several layers. This is the rate-controlled form of
    the threshold rule: the threshold is the quantile that leaves the budget. All pairs of neighbours above it are
    joined at once, so a run of alike tokens becomes one, without a second round.
    """

    name = "a_tome"
    family = "similarity"
    modalities = ("audio",)
    locations = ("encoder", "projector")
    needs = ("keys",)
    criterion = "similarity merge"
    source = "A-ToMe, arXiv 2306.16009"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        keys = scores.get("keys", tokens.features).float().masked_fill(~valid[..., None], 0.0)
        unit = keys / keys.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        cosine = torch.einsum("bnd,bnd->bn", unit[:, 1:], unit[:, :-1])
        joined = torch.zeros_like(valid)
        joined[:, 1:] = top_mask(cosine, tokens.count - budget, valid[:, 1:] & valid[:, :-1])
        heads = valid & ~joined
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        head = torch.where(heads, place, -1).cummax(1).values
        return Reduction.merge(heads, head.masked_fill(~valid, -1), tokens.mass)

    def flops(self, n: int, m: int, d: int) -> int:
        return 2 * (n - 1) * d
