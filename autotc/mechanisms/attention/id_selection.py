"""ID-Selection: pick by importance, suppress what is alike (2604.05601)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import min_max
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class IdSelectionParams(Params):
    """Parameters of `IdSelection`; ``gamma``: how fast suppression falls with squared cosine distance, published 20."""

    gamma: float = Field(20.0, ge=0)


class IdSelection(Mechanism):
    """Pick the token of the highest score, one by one; every pick takes exp(-gamma d^2) of its score off the others'.

    d is the cosine distance to the picked token; scores start as the class token's attention, scaled to [0, 1]. Scores
    below zero take nothing off, so that the least suppressed tokens come first when all are used up. No
    official code was found; the form of the suppression and the scaling are those of a public reimplementation, which
    stops scores at zero. The published importance may also be attention in the language model.
    """

    name = "id_selection"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention with suppression"
    source = "ID-Selection, arXiv 2604.05601"
    Params = IdSelectionParams
    params: IdSelectionParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, unit = tokens.valid, tokens.unit_features()
        rows = torch.arange(valid.shape[0], device=valid.device)
        distance = (1.0 - torch.bmm(unit, unit.mT)).clamp_min(0.0)
        takes = (-self.params.gamma * distance.square()).exp()
        score = min_max(scores["cls_attention"], valid)
        chosen = torch.zeros_like(valid)
        steps = int(budget.max())
        for step in range(steps):
            best = score.masked_fill(chosen | ~valid, -torch.inf).argmax(1)
            chosen[rows, best] |= step < budget
            score = score - takes[rows, best] * score[rows, best].clamp_min(0.0)[:, None]
        return Reduction.select(chosen & valid)

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
