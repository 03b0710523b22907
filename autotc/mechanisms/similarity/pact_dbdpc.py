"""PACT: pruning by a global query, then distance-bounded density-peak clustering (2504.08966; official `DBDPC`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import centres_apart, nearest
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

_HALVINGS = 12
"""Rounds of bisection of the distance bound; they settle it to 2 / 4096."""


class PactParams(AdaptiveParams):
    """Parameters of `PactDbdpc`; the defaults are the official ``pact.json``.

    Attributes:
        unpruned: share of the tokens that the first step leaves; the budget where that is more.
        bound: cosine distance within which a centre takes its cluster; read where ``adaptive``.
        reach: how many times the bound a pruned token may be from a centre to be merged into it.
    """

    unpruned: float = Field(0.55, gt=0, le=1)
    bound: float = Field(0.21, ge=0, le=2)
    reach: float = Field(1.5, ge=0, le=10)


class PactDbdpc(Mechanism):
    """Prune by attention of the mean query times feature norm, cluster the rest by keys, merge each cluster.

    Visited by falling density, a token becomes a centre unless an earlier centre lies within the bound. Clusters are
    averaged by mass at their centre's position, together with those pruned tokens that lie within ``reach`` bounds of
    it; the other pruned tokens are dropped. With ``adaptive`` the bound is the published one; else, and where that
    leaves too many, it is the smallest that leaves at most the budget, by bisection, and what is then missing is made
    up by the tokens farthest from their centres. Distances are between mean keys over heads before rotation, where the
    code compares whole rotated keys. The mean query and its softmax are over the item, where the code takes all tokens
    up to the image's last. Attention is not weighted by cluster size afterwards.
    """

    name = "pact_dbdpc"
    family = "similarity"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("global_query_attention", "keys")
    score_source = "own"
    criterion = "global query attention, density"
    source = "PACT, arXiv 2504.08966, sections 3.2 to 3.4; `DBDPC.fit_variant` of the official code"
    Params = PactParams
    params: PactParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        norm = tokens.features.float().norm(dim=2)
        unpruned = (tokens.count.double() * self.params.unpruned).long().clamp_min(1)
        unpruned = unpruned if self.adaptive else torch.maximum(unpruned, budget)
        candidates = Reduction.select(top_mask(scores["global_query_attention"].float() * norm, unpruned, valid))
        present = candidates.keep >= 0

        keys = unit(candidates.apply(scores["keys"].float()), present)
        distance = (1.0 - torch.bmm(keys, keys.mT)).clamp_min(0.0)
        distance.diagonal(dim1=1, dim2=2).zero_()
        bound, centre = self._bounded(distance, present, budget)
        if not self.adaptive:
            gap = distance.masked_fill(~centre[:, None], torch.inf).amin(2)
            centre = centre | top_mask(gap, budget - centre.sum(1), present & ~centre)

        survivors = torch.zeros_like(valid)
        row, column = centre.nonzero(as_tuple=True)
        survivors[row, candidates.keep[row, column]] = True
        at, similarity = nearest(scores["keys"], survivors, valid)
        kept = torch.zeros_like(valid)
        row, column = present.nonzero(as_tuple=True)
        kept[row, candidates.keep[row, column]] = True
        joins = valid & (kept | (1.0 - similarity <= self.params.reach * bound[:, None]))
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        target = torch.where(survivors, place, torch.where(joins, at, -1))
        return Reduction.merge(survivors, target, tokens.mass)

    def _bounded(self, distance: Tensor, present: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
        """The bound of each row (B,), and the centres it leaves (B, C), at most the budget."""
        # Published with a kernel width of 2; sorted by falling density, ties to the earlier token.
        density = (-(distance.double() / 2.0).square()).exp().masked_fill(~present[:, None], 0.0).sum(2)
        order = density.masked_fill(~present, -torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order).scatter_(
            1, order, torch.arange(order.shape[1], device=order.device).expand_as(order)
        )
        denser = (rank[:, None, :] < rank[:, :, None]) & present[:, None]

        low = distance.new_full(budget.shape, self.params.bound if self.adaptive else 0.0)
        centre = centres_apart(distance, denser, present, low)
        few = centre.sum(1) <= budget
        high = torch.where(few, low, 2.0)
        # A bound of 2 spans everything and leaves the densest alone.
        centre = torch.where(few[:, None], centre, (rank == 0) & present)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            tried = centres_apart(distance, denser, present, middle)
            few = tried.sum(1) <= budget
            centre = torch.where((few & (middle < high))[:, None], tried, centre)
            low, high = torch.where(few, low, middle), torch.where(few, middle, high)
        return high, centre

    def flops(self, work: Work) -> int:
        candidates = max(1, int(work.n * self.params.unpruned))
        candidates = candidates if self.adaptive else max(candidates, work.m)
        return 2 * work.k * (candidates**2 + work.n * work.m)
