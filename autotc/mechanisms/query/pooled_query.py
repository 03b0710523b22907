"""Pooled query: k-means of the tokens, weighted by their relevance to the query (after BLIP-2, 2301.12597)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Cosine, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class PooledQueryParams(Params):
    """Parameters of `PooledQuery`.

    Attributes:
        temperature: of the softmax that turns a token's cosine to the query into its weight.
        rounds: of assigning tokens to clusters.
    """

    temperature: float = Field(0.2, gt=0)
    rounds: int = Field(3, ge=1, le=20)


class PooledQuery(Mechanism):
    """As many clusters as survivors; each survivor is its cluster's average, relevant tokens counting more.

    The idea of BLIP-2's query transformer, few outputs that pool the image by attention, without its training. Weights
    are a softmax of the cosine to the query, times mass. The first seed is the token of most weight, each further one
    the token whose weight times cosine distance to the nearest seed is largest. Then, for a fixed number of rounds,
    tokens join the cluster of the nearest mean and means are taken again. A seed never leaves its cluster, so none runs
    empty, and gives the survivor its position.
    """

    name = "pooled_query"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_similarity",)
    criterion = "query-weighted clusters"
    source = "after the query transformer of BLIP-2, arXiv 2301.12597, section 3.1; Lloyd's k-means"
    Params = PooledQueryParams
    params: PooledQueryParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, scaled = tokens.valid, tokens.unit_features()
        relevance = torch.nan_to_num(scores["text_similarity"].float()).masked_fill(~valid, -torch.inf)
        weight = ((relevance - relevance.amax(1, keepdim=True)) / self.params.temperature).exp().clamp_min(1e-6)
        weight = (weight * tokens.mass.float()).masked_fill(~valid, 0.0)
        unknown = torch.full_like(weight, torch.inf)
        seeds = farthest_first(Cosine(scaled), unknown, torch.zeros_like(valid), budget, valid, weight)

        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        seed = Reduction.select(seeds).keep
        absent, at = (seed < 0)[:, None], seed.clamp_min(0)
        wide = (-1, -1, scaled.shape[2])
        mean = scaled.gather(1, at[..., None].expand(wide))
        target = place
        for i in range(self.params.rounds):
            if i:
                sums = torch.zeros_like(scaled).scatter_add_(
                    1, target[..., None].expand_as(scaled), scaled * weight[..., None]
                )
                mean = sums.gather(1, at[..., None].expand(wide))
                mean = mean / mean.norm(dim=2, keepdim=True).clamp_min(1e-12)
            best = torch.bmm(scaled, mean.mT).masked_fill(absent, -torch.inf).argmax(2)
            target = torch.where(seeds | ~valid, place, at.gather(1, best))
        return Reduction.merge(seeds, target.masked_fill(~valid, -1), weight)

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d * (work.m - 1 + self.params.rounds * work.m)
