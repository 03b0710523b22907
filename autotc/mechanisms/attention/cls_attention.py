"""FasterVLM: the tokens that the class token attends to most (2412.01818v1; official `encode_images`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class ClsAttention(Mechanism):
    """Top-k of the class token's attention in the tower's next-to-last block, mean over heads.

    Towers without a class token give the attention received from all tokens, hence the criterion. The choice is made
    over the item, where the official code gives each crop of a high-resolution image the same count.
    """

    name = "cls_attention"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention"
    source = "FasterVLM, arXiv 2412.01818v1; `encode_images` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["cls_attention"], budget, tokens.valid))
