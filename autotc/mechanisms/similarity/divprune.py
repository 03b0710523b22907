"""DivPrune: greedy max-min diversity (2503.02175, algorithm 1; official code `DivPrune` of `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class DivPrune(Mechanism):
    """Add, one by one, the token whose nearest chosen token is farthest by cosine distance.

    The first is the token whose nearest neighbour is farthest, as in the official code. The distance to the nearest
    chosen token is kept up to date, so that a step costs O(N) where the published loop costs O(M N). The choice is
    made per item, where the code takes the tokens of one image.
    """

    name = "divprune"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "diversity"
    source = "DivPrune, arXiv 2503.02175, algorithm 1; `DivPrune` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        unit, valid = tokens.unit_features(), tokens.valid
        rows = torch.arange(valid.shape[0], device=valid.device)
        distance = torch.bmm(unit, unit.mT).neg_().add_(1.0)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        distance.masked_fill_(~valid[:, None, :], torch.inf)
        nearest = distance.amin(2)
        chosen = torch.zeros_like(valid)
        for step in range(int(budget.max())):
            # 4 is beyond every distance: a row's only token has no neighbour, yet must beat what cannot be chosen.
            score = nearest.clamp_max(4.0).masked_fill(chosen | ~valid, -torch.inf)
            best = score.argmax(1)
            chosen[rows, best] |= step < budget
            latest = distance[rows, best]
            nearest = latest if step == 0 else torch.minimum(nearest, latest)
        return Reduction.select(chosen & valid)

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
