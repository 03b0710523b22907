"""TRIM: the tokens most similar to the text, and one for all others (2409.10994; official `token_reduction`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class TrimParams(AdaptiveParams):
    """Parameters of `Trim`.

    Attributes:
        whisker: in the adaptive form a token stands out when its score passes the third quartile by more than this many
            interquartile ranges.
    """

    whisker: float = Field(1.5, ge=0)


class Trim(Mechanism):
    """Top of the cosine to the query; all others are averaged, by mass, into one more token.

    In the adaptive form the softmax of the cosines over the item says how many stand out, as in the official code,
    which ranks by it in both forms. Unlike there, the score is the cosine to the mean query embedding in the language
    model's space, which rises with relevance, where the code negates the products of a contrastive encoder's outputs;
    the averaged token stands at the place of the best token that it absorbs, where the code appends it; and it counts
    towards the budget.
    """

    name = "trim"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_similarity",)
    criterion = "text_similarity"
    source = "TRIM, arXiv 2409.10994; `token_reduction` of the official `clip_encoder.py`"
    Params = TrimParams
    params: TrimParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, score = tokens.valid, scores["text_similarity"]
        if self.params.adaptive:
            budget = torch.minimum(budget, self._outliers(score, valid) + 1)
        kept = top_mask(score, budget, valid)
        last = kept & ~top_mask(score, budget - 1, valid)
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        target = torch.where(kept, place, last.int().argmax(1, keepdim=True))
        return Reduction.merge(kept, target.masked_fill(~valid, -1), tokens.mass)

    def _outliers(self, score: Tensor, valid: Tensor) -> Tensor:
        """How many tokens of each row stand out, (B,) long."""
        known = torch.nan_to_num(score.double()).masked_fill(~valid, -torch.inf)
        share = known.softmax(1).masked_fill(~valid, torch.nan)
        low, high = share.nanquantile(share.new_tensor([0.25, 0.75]), dim=1, keepdim=True)
        out: Tensor = (share > high + self.params.whisker * (high - low)).sum(1)
        return out
