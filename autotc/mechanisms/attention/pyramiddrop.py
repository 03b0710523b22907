"""PyramidDrop: a rank-and-drop at several depths (2410.17247, section 3.2; official code `pdrop_rank_drop`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class PyramidDrop(Mechanism):
    """Top-k of the last instruction token's attention, by the queries and keys of the layer that follows.

    Ratios are of the original count, one for each layer of the stage, as in the official code. Unlike there, counts are
    rounded, not truncated, each item has its own, and survivors keep their positions instead of being renumbered.
    """

    name = "pyramiddrop"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("last_query_attention",)
    score_source = "own"
    criterion = "last_query_attention"
    source = "PyramidDrop, arXiv 2410.17247, section 3.2; `pdrop_rank_drop` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["last_query_attention"], budget, tokens.valid))
