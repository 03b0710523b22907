"""Attention rank: PageRank on a layer's attention (AIM, 2412.03248, section 3.2; official `get_importance`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class AttentionRank(Mechanism):
    """Top-k of each token's PageRank on the attention between all tokens of the prompt.

    The ranks are those of the official code: five rounds head by head, on attention sharpened by a temperature of 0.1,
    heads joined by the root of the mean square. Tokens leave for good, where the code hides them from later layers by a
    mask.
    """

    name = "attention_rank"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("attention_rank",)
    criterion = "attention_rank"
    source = "AIM, arXiv 2412.03248, section 3.2; `get_importance` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["attention_rank"], budget, tokens.valid))
