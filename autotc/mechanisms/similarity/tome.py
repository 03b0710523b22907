"""ToMe: bipartite soft matching (2210.09461, section 3; official `bipartite_soft_matching` and `merge_wavg`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


def merge_rounds(
    weighted: Tensor,
    valid: Tensor,
    budget: Tensor,
    reluctance: Tensor | None = None,
    threshold: float | None = None,
) -> Tensor:
    """Rounds of bipartite soft matching, each of which removes at most half of what is left.

    Args:
        weighted: (B, N, D) float, what is matched, times mass; zeros on padding.
        valid: (B, N) bool; padding may stand anywhere.
        budget: (B,) long, at least 1 where the row has tokens, at most its tokens.
        reluctance: (B, N) float, taken off a token's cosines when those who leave are chosen; tokens that meet in a
            round have its plain mean from then on.
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
        root = merge_rounds(keys * tokens.mass.float()[..., None], valid, budget)
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        n, total = work.n, 0
        while n > work.m:
            total += 2 * ((n + 1) // 2) * (n // 2) * work.k
            n -= min(n - work.m, n // 2)
        return total
