"""Dual attention: MustDrop's filter of the prefill (2411.10803, section 3.3; official `dual_attention_filter`)."""

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


class DualAttentionParams(AdaptiveParams):
    """Parameters of `DualAttention`; the defaults are published for 192 of 576 tokens.

    ``global_threshold``: of a token's share of all the attention that text pays to the item. ``individual_threshold``:
    of the largest attention that one text token pays to it.
    """

    global_threshold: float = Field(0.001, gt=0, le=1)
    individual_threshold: float = Field(0.001, gt=0, le=1)


class DualAttention(Mechanism):
    """Keep what the text as a whole, or any one of its tokens, attends to.

    The published rule drops a token when both attentions are below their thresholds (``adaptive``). Here the larger of
    the two, each relative to its threshold, ranks, so both thresholds move together until the count is met. The code
    also keeps the key tokens that its first stage found in the tower, which a stage of the decoder cannot see. Text is
    the query span, where the code takes every token after the image. The published cache policy while decoding is not
    part of this.
    """

    name = "dual_attention"
    family = "query"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("text_attention",)
    criterion = "text_attention"
    source = "MustDrop, arXiv 2411.10803, section 3.3; `dual_attention_filter` of the official code"
    Params = DualAttentionParams
    params: DualAttentionParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        attention = scores["text_attention"].float().masked_fill(~valid[..., None], 0.0)
        total = attention.sum(2)
        share = total / total.sum(1, keepdim=True).clamp_min(1e-12)
        individual = attention.amax(2)
        score = torch.maximum(share / self.params.global_threshold, individual / self.params.individual_threshold)
        if self.params.adaptive:
            budget = torch.minimum(budget, ((score >= 1.0) & valid).sum(1).clamp_min(1))
        return Reduction.select(top_mask(score, budget, valid))
