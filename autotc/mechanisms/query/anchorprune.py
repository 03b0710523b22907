"""AnchorPrune: a protected query anchor, then novelty weighed by importance (2607.07033; official `selection.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Cosine, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class AnchorPruneParams(Params):
    """Parameters of `AnchorPrune`.

    Attributes:
        least: share of the survivors that the anchor has in any case; the published 5 of 32, 10 of 64 and 20 of 128.
        most: share of the survivors that it has at most.
        novelty: cosine distance to the first ``least`` from which on a relevant token counts as new.
        patience: the anchor ends with the token that is the so-many-th new one.
    """

    least: float = Field(5 / 32, ge=0, le=1)
    most: float = Field(0.5, ge=0, le=1)
    novelty: float = Field(0.2, ge=0)
    patience: int = Field(3, ge=1)


class AnchorPrune(Mechanism):
    """The tokens nearest to a word of the query, then those of the largest product of importance and novelty.

    Relevance is the largest cosine to a word of the query, as the official code has it for Qwen2.5-VL; for LLaVA it
    takes the negative cosine to CLIP's text embedding. The anchor grows along the ranking until ``patience`` tokens
    were new. Then tokens are added one by one by attention (of the class token, or received) times the cosine distance
    to the nearest chosen one, at most 1. Without a query, where the code removes nothing, there is no anchor.
    """

    name = "anchorprune"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_features", "cls_attention")
    criterion = "relevance, then cls_attention with distinctness"
    source = "AnchorPrune, arXiv 2607.07033; `anchorprune_select` and `qwen.py` of the official code"
    Params = AnchorPruneParams
    params: AnchorPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, scaled = tokens.valid, tokens.unit_features()
        words = scores["text_features"].float()
        spoken = words.abs().sum(2) > 0
        words = torch.nn.functional.normalize(words, dim=-1, eps=1e-8)
        relevance = torch.bmm(scaled, words.mT).masked_fill(~spoken[:, None], -torch.inf).amax(2)
        order = relevance.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
        # Padding behind all valid tokens, also where there is no word to rank by.
        order = order.gather(1, (~valid).gather(1, order).long().argsort(dim=1, stable=True))
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(order)

        least = torch.minimum((budget.double() * self.params.least + 0.5).long().clamp_min(1), budget)
        most = (budget.double() * self.params.most + 1e-9).long().maximum(least)
        first = torch.zeros_like(valid).scatter_(1, order, place < least[:, None])
        _, closeness = nearest(tokens.features, first & valid, valid)
        new = (1.0 - closeness > self.params.novelty).gather(1, order)
        new = new & (place >= least[:, None]) & (place < most[:, None])
        before = new.cumsum(1) - new.long()
        size = (before < self.params.patience) & (place < most[:, None])
        anchor = torch.zeros_like(valid).scatter_(1, order, size) & valid & spoken.any(1, keepdim=True)

        _, closeness = nearest(tokens.features, anchor, valid)
        distance = (1.0 - closeness).clamp_max(1.0)
        importance = torch.nan_to_num(scores["cls_attention"].float()).clamp_min(0.0)
        return Reduction.select(farthest_first(Cosine(scaled), distance, anchor, budget, valid, importance))

    def flops(self, work: Work) -> int:
        least = min(work.m, max(1, int(work.m * self.params.least + 0.5)))
        return 2 * work.n * work.d * (work.query + least + work.m)
