"""VTW: visual tokens leave the language model at a deep layer (2405.05803; official `VTW.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class Withdraw(Mechanism):
    """Keep an item's last tokens, however few, and drop the rest without a score.

    The published form drops all of an item's tokens at one layer; here at least one stays, the last, which has seen the
    whole item. What decides is the layer: VTW finds it on a few samples, as the first whose withdrawal changes the
    distribution of the next token by less than a threshold. A keep ratio near 0 is the published use.
    """

    name = "withdraw"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    criterion = "recency"
    source = "VTW, arXiv 2405.05803; `VTWLlamaModel.forward` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        # Rows are right-aligned, so the last tokens of each are the last columns.
        place = torch.arange(tokens.valid.shape[1], device=tokens.valid.device)
        return Reduction.select(tokens.valid & (place >= tokens.valid.shape[1] - budget[:, None]))
