"""iLLaVA: the least attended tokens of a tower become one (2412.06263; official `SigLipEncoderLayer`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class ILlava(Mechanism):
    """Top-k of the attention received; the last of them takes in all the others.

    As in the official code, the last one and those below it are averaged with weights 1, 2, ... by falling attention,
    so that the least attended token weighs most. What a token stands for does not count. Merging happens after the
    block, where the code merges between attention and MLP. The code handles each frame or view by itself, as towers do
    here whose blocks see one tile at a time; in other towers the item is one set.
    """

    name = "illava"
    family = "attention"
    modalities = MODALITIES
    locations = ("encoder",)
    needs = ("received_attention",)
    criterion = "received_attention"
    source = "iLLaVA, arXiv 2412.06263; `SigLipEncoderLayer.forward` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        none = torch.zeros_like(tokens.grid[..., 0])
        rank = rank_in_group(scores["received_attention"], none, valid)
        kept = valid & (rank < budget[:, None])
        last = (kept & (rank == budget[:, None] - 1)).int().argmax(1, keepdim=True)
        place = torch.arange(valid.shape[1], device=valid.device)
        target = torch.where(kept, place, last).masked_fill(~valid, -1)
        weight = (rank - budget[:, None] + 2).clamp_min(1).float()
        return Reduction.merge(kept, target, weight)
