"""FastV: the tokens that the last token attends to most (2403.06764, section 4.1; official `fastv_forward.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from autotc.mechanisms.base import MODALITIES, Mechanism, Reduction, Score, Tokens, top_mask


class FastV(Mechanism):
    """Top-k of the last token's attention, mean over heads, of the layer before.

    The paper ranks by the attention a token receives from all others; the official code, followed here, reads the last
    token's row of the layer before the cut. Each item has its own budget, where the code has one for a single image.
    """

    name = "fastv"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("last_query_attention",)
    criterion = "last_query_attention"
    source = "FastV, arXiv 2403.06764, section 4.1; last token's row as in the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["last_query_attention"], budget, tokens.valid))
