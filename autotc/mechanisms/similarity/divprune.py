"""DivPrune: greedy max-min diversity (2503.02175, algorithm 1; official code `DivPrune` of `llava_arch.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.kernels import Table, farthest_first
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
        # 4 is beyond every distance: a row's only token has no neighbour, yet must beat what cannot be chosen.
        lonely = distance.amin(2).clamp_max(4.0).masked_fill(~valid, -torch.inf).argmax(1)
        chosen = torch.zeros_like(valid)
        chosen[rows, lonely] = budget > 0
        return Reduction.select(farthest_first(Table(distance), distance[rows, lonely], chosen, budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
