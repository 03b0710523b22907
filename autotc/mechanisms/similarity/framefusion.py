"""FrameFusion: tokens merge into the same place of the frame before (2501.01986, section 4; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class FrameFusionParams(AdaptiveParams):
    """Parameters of `FrameFusion`; ``similarity_threshold`` (published: 0.6) counts with ``adaptive`` alone."""

    similarity_threshold: float = Field(0.6, ge=-1, le=1)


class FrameFusion(Mechanism):
    """Tokens most like the same place one frame earlier flow into it; runs of them flow into the run's first.

    As in the official code, what an earlier stage removed is passed over, so a place is compared with its latest
    survivor. The code merges what passes the threshold and, where that is more than the budget needs, the most similar
    ones; a later attention stage makes up for what is missing. Here the most similar ones merge until the count is met,
    and with ``adaptive`` all that pass the threshold do. Averages are by mass, where the code counts each token once.
    Below one token for each place, which the published rule never reaches, the runs of neighbouring places join.

    The code merges before layer 0, and on inside the layers behind it, between attention and MLP, until few tokens are
    alike; then it prunes once, inside the next layer, by that layer's own attention from the last token, which it
    computes apart: its model may run under FlashAttention. Here a stage stands between two layers.
    """

    name = "framefusion"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector", "decoder")
    criterion = "temporal redundancy"
    source = "FrameFusion, arXiv 2501.01986, section 4; `merge_tokens_and_get_mask` of the official code"
    Params = FrameFusionParams
    params: FrameFusionParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        t, y, x = (tokens.grid + 1).masked_fill(~valid[..., None], 0).unbind(2)
        spot = (y - 1) * x.amax(1, keepdim=True) + x - 1
        key = (spot * t.amax(1, keepdim=True) + t).masked_fill(~valid, torch.iinfo(torch.long).max)
        order = key.argsort(dim=1, stable=True)  # place by place, in time; padding last
        unit = tokens.unit_features().gather(1, order[..., None].expand_as(tokens.features))
        sorted_valid, sorted_spot = valid.gather(1, order), spot.gather(1, order)
        cosine = torch.einsum("bnd,bnd->bn", unit[:, 1:], unit[:, :-1])
        elsewhere = sorted_spot[:, 1:] != sorted_spot[:, :-1]
        cosine = torch.where(elsewhere, cosine - 4.0, cosine)

        leaving = tokens.count - budget
        if self.params.adaptive:
            alike = (cosine >= self.params.similarity_threshold) & sorted_valid[:, 1:]
            leaving = torch.maximum(leaving, alike.sum(1))
        joined = torch.zeros_like(valid)
        joined[:, 1:] = top_mask(cosine, leaving, sorted_valid[:, 1:])
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        first = order.gather(1, torch.where(joined, 0, place).cummax(1).values)
        target = torch.empty_like(order).scatter_(1, order, first)
        return Reduction.merge(valid & (target == place), target.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        return 2 * (work.n - 1) * work.d
