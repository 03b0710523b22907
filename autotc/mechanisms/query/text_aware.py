"""Text-aware merging: attention and likeness to the query (2603.21957, equations 5 to 9)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import min_max, top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class TextAwareParams(Params):
    """Parameters of `TextAware`; ``similarity_share``: weight of the cosine to the query, published 0.5."""

    similarity_share: float = Field(0.5, ge=0, le=1)


class TextAware(Mechanism):
    """Keep what one of the query's tokens attends to, or is like; the rest merges into the nearest token that stays.

    Both are the largest over the query's tokens, scaled to [0, 1] over the item, and mixed. Attention is the mean over
    heads; that, and the scaling, are not confirmed: there is no official code. Averages are by mass.
    """

    name = "text_aware"
    family = "query"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("text_attention", "text_features")
    criterion = "text_attention, text_similarity"
    source = "Unified Spatiotemporal Token Compression, arXiv 2603.21957, equations 5 to 9"
    Params = TextAwareParams
    params: TextAwareParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, share = tokens.valid, self.params.similarity_share
        words = scores["text_features"].float()
        unspoken = (words.abs().sum(2) == 0)[:, None]
        cosine = torch.bmm(tokens.unit_features(), torch.nn.functional.normalize(words, dim=-1, eps=1e-8).mT)
        alike = min_max(cosine.masked_fill(unspoken, -1.0).amax(2), valid)
        seen = min_max(scores["text_attention"].float().amax(2), valid)
        kept = top_mask((1.0 - share) * seen + share * alike, budget, valid)
        if bool((kept == valid).all()):
            return Reduction.select(kept)
        place = torch.arange(valid.shape[1], device=valid.device)
        target = torch.where(kept, place, nearest(tokens.features, kept, valid)[0])
        return Reduction.merge(kept, target.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d * (work.query + (work.m if work.n > work.m else 0))
