"""Unified spatiotemporal compression: attended tokens unlike each other, and clusters of the rest (2603.21957)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import centres_apart, cluster_groups
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class UnifiedStParams(Params):
    """Parameters of `UnifiedSt`: ``threshold``, cosine from which a token is redundant, published 0.7;
    ``cluster_share`` of the survivors, published 0.3; ``neighbours``: k of the density, not confirmed.
    """

    threshold: float = Field(0.7, ge=-1, le=1)
    cluster_share: float = Field(0.3, ge=0, le=1)
    neighbours: int = Field(7, ge=1)


class UnifiedSt(Mechanism):
    """By falling attention, tokens join one pool for the whole video unless they are like one in it; the rest clusters.

    The pool takes 1 - ``cluster_share`` of the survivors, clusters of all other tokens by DPC-KNN, averaged, the rest,
    and also what the pool lacks where too few tokens are unlike each other. That the share is meant so, the k of the
    density and the scale of distances are not confirmed: there is no official code. Averages are by mass.
    """

    name = "unified_st"
    family = "similarity"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "attention without redundancy"
    source = "Unified Spatiotemporal Token Compression, arXiv 2603.21957, equations 1 to 4"
    Params = UnifiedStParams
    params: UnifiedStParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        attention, everything = scores["cls_attention"], torch.zeros_like(tokens.grid[..., 0])
        unit = tokens.unit_features()
        rank = rank_in_group(attention, everything, valid)
        bound = unit.new_full(budget.shape, 1.0 - params.threshold)
        apart = centres_apart(1.0 - torch.bmm(unit, unit.mT), rank[:, None] < rank[:, :, None], valid, bound)
        clusters = (budget.double() * params.cluster_share + 1e-9).long()
        pool = top_mask(attention, (budget - clusters).minimum(apart.sum(1)), apart)
        count = (budget - pool.sum(1))[:, None]
        centre, target = cluster_groups(tokens.features, everything, count, valid & ~pool, params.neighbours)
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge(pool | centre, torch.where(pool, place, target), tokens.mass)

    def flops(self, work: Work) -> int:
        return 4 * work.n**2 * work.d
