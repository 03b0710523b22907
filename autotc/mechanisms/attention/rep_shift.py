"""Representation shift: importance as the change a block makes to a token (2508.00367)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class RepShift(Mechanism):
    """Top-k of the norm of the change that the block before makes to a token; no attention weights.

    The change is that of the whole block, where the paper, having compared attention, MLP and block, settles on the L2
    distance over the MLP.
    """

    name = "rep_shift"
    family = "attention"
    modalities = MODALITIES
    locations = ("encoder", "decoder")
    needs = ("representation_shift",)
    criterion = "representation_shift"
    source = "Representation Shift, arXiv 2508.00367; its whole-block variant"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["representation_shift"], budget, tokens.valid))
