"""AdaFV: text relevance and visual saliency, mixed as the item asks for (2501.09532)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES

_AT_ONCE = 64  # splits compared at once, which bounds the memory


class AdaFVParams(Params):
    """Parameters of `AdaFV`.

    Attributes:
        scale: what cosines to the query are multiplied by before the softmax; the default is that of contrastive
            encoders.
    """

    scale: float = Field(100.0, gt=0)


class AdaFV(Mechanism):
    """The most salient tokens and, of the rest, the most relevant ones; the item itself decides how many of each.

    The paper mixes visual saliency and text-to-image similarity, adapting to each item. Here text-to-image attention is
    the softmax of the scaled cosines, and of all splits of the budget the one is taken whose tokens hold most of both
    attentions: the largest product of the two sums. The cosine is to the mean query embedding in the language model's
    space, since a tower need not have a text encoder of its own.
    """

    name = "adafv"
    family = "query"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_similarity", "cls_attention")
    criterion = "text_similarity and cls_attention"
    source = "AdaFV, arXiv 2501.09532, self-adaptive cross-modality attention mixture; the objective is this form's own"
    Params = AdaFVParams
    params: AdaFVParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        cosine = torch.nan_to_num(scores["text_similarity"].double()).masked_fill(~valid, -torch.inf)
        text = (self.params.scale * cosine).softmax(1)
        salient = torch.nan_to_num(scores["cls_attention"].double()).masked_fill(~valid, -torch.inf)
        share = salient.clamp_min(0)

        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        by_salience = salient.argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(place).scatter_(1, by_salience, place)
        # From here on tokens stand by falling relevance.
        order = cosine.argsort(dim=1, descending=True, stable=True)
        rank, text, share, present = (v.gather(1, order) for v in (rank, text, share, valid))

        def picked(split: Tensor) -> Tensor:
            """Tokens (B, S, N) that splits (B, S), each a number of salient tokens, pick."""
            first = present[:, None] & (rank[:, None] < split[..., None])
            others = present[:, None] & ~first
            return first | (others & (others.cumsum(2) <= (budget[:, None] - split)[..., None]))

        splits = torch.arange(int(budget.max()) + 1, device=valid.device)
        value = []
        for start in range(0, len(splits), _AT_ONCE):
            mask = picked(splits[start : start + _AT_ONCE].expand(len(budget), -1))
            value.append((text[:, None] * mask).sum(2) * (share[:, None] * mask).sum(2))
        held = torch.cat(value, 1).masked_fill(splits > budget[:, None], -torch.inf)
        chosen = picked(held.argmax(1, keepdim=True))[:, 0]
        return Reduction.select(torch.zeros_like(valid).scatter_(1, order, chosen))
