"""ToMe: bipartite soft matching (2210.09461, section 3; official `bipartite_soft_matching` and `merge_wavg`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autotc.mechanisms.base import MODALITIES, Mechanism, Reduction, Score, Tokens, top_mask


class ToMe(Mechanism):
    """Even tokens flow into their most similar odd token, the most similar pairs first, averaged by mass.

    One call of the published rule removes at most half of the tokens. Rounds are repeated, on the merged tokens' mean
    keys, until the budget is met. Evens and odds are counted from the row's first token, in the order of positions,
    which the code gives up once it has merged. Merging happens between blocks and leaves attention unweighted, where
    the code merges between attention and MLP and adds the log of each token's size to the attention scores.
    """

    name = "tome"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    needs = ("keys",)
    criterion = "similarity merge"
    source = "ToMe, arXiv 2210.09461, section 3; `bipartite_soft_matching` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        keys = scores.get("keys", tokens.features).float().masked_fill(~valid[..., None], 0.0)
        weighted = keys * tokens.mass.float()[..., None]
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        root = place.clone()  # the token each token has flowed into so far
        left = tokens.count
        while bool((left > budget).any()):
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
            best, match = similarity.max(-1)
            removed = torch.minimum(left - budget, left // 2)
            leaves = top_mask(best, removed, present[:, 0::2])
            step = place.scatter(1, source, torch.where(leaves, sink.gather(1, match), source))
            root = step.gather(1, root)
            left = left - removed
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, n: int, m: int, d: int) -> int:
        total = 0
        while n > m:
            total += 2 * ((n + 1) // 2) * (n // 2) * d
            n -= min(n - m, n // 2)
        return total
