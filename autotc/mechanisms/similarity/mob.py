"""MoB: balanced covering of the prompt and of the item (2505.10118, section 3.3 and algorithm 1)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Cosine, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class MobParams(Params):
    """Parameters of `Mob`.

    Attributes:
        prompt_share: share of the survivors that cover the prompt; the default is the published 48 of 128.
        fold: candidates per prompt token, relative to those survivors; the default is the published 6 of 48.
    """

    prompt_share: float = Field(48 / 128, ge=0, le=1)
    fold: float = Field(6 / 48, gt=0, le=1)


class Mob(Mechanism):
    """A share of the survivors covers the prompt; farthest-point sampling from these covers the item.

    Each token of the query span nominates the k tokens nearest to it by cosine; of those nominated the most similar to
    a nominator survive. Then the token farthest from all survivors is added, one by one. Both counts follow from the
    budget by fixed shares, where the paper has a table by budget and by how tightly a benchmark couples prompt and
    image. Where fewer tokens are nominated than the share allows, the farthest take their place.
    """

    name = "mob"
    family = "similarity"
    modalities = MODALITIES
    locations = ("projector", "decoder")
    needs = ("text_features",)
    criterion = "prompt and item covering"
    source = "MoB, arXiv 2505.10118, section 3.3 and appendix B, algorithm 1"
    Params = MobParams
    params: MobParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, scaled = tokens.valid, tokens.unit_features()
        text = scores["text_features"].float()
        present = text.abs().sum(2) > 0
        share = (budget.double() * self.params.prompt_share + 0.5).long()
        fold = (share.double() * self.params.fold + 0.5).long().clamp_min(1)

        cosine = torch.bmm(unit(text, present), scaled.mT).masked_fill(~valid[:, None], -torch.inf)
        order = cosine.argsort(dim=2, descending=True, stable=True)
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(order)
        rank = torch.empty_like(order).scatter_(2, order, place)
        nominated = (rank < fold[:, None, None]) & present[..., None] & valid[:, None]
        alignment = cosine.masked_fill(~nominated, -torch.inf).amax(1)
        candidate = nominated.any(1)
        prompt = top_mask(alignment, share, candidate)

        _, similarity = nearest(tokens.features, prompt, valid)
        return Reduction.select(farthest_first(Cosine(scaled), 1.0 - similarity, prompt, budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d * (work.query + work.m)
