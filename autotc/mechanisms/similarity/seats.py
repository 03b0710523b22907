"""SEATS before the language model: attended diversity, window by window (2605.20035; official `weighted_MMD_batch`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Table, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class SeatsParams(Params):
    """Parameters of `Seats`; ``window``: its length on the grid's time axis, published 2 frames or 50 audio tokens."""

    window: int = Field(2, ge=1)


class Seats(Mechanism):
    """Each window keeps the same share: one by one, the token of the largest attention x distance to the nearest kept.

    The distance is 1 - cosine; the first token is the one with the largest product of attention and the distance to
    its nearest neighbour, as in the official code. The code rounds every window's count, to at least one; here the
    counts meet the budget by largest remainders. Attention is the mean that a token receives in the tower's
    next-to-last block, where the code reads the last.
    """

    name = "seats"
    family = "similarity"
    modalities = ("video", "audio")
    locations = ("projector",)
    needs = ("received_attention",)
    criterion = "diversity with received_attention"
    source = "SEATS, arXiv 2605.20035, first stage; `weighted_MMD_batch` of the official code"
    Params = SeatsParams
    params: SeatsParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        window = tokens.grid[..., 0].masked_fill(~valid, 0) // self.params.window
        size = count_groups(window, valid, int(window.max()) + 1)
        count = allocate(budget, size.double(), size)

        rows = group_rows(window, valid, size.shape[1])
        present, wanted = rows >= 0, count.flatten()
        rows, present, wanted = (values[wanted > 0] for values in (rows, present, wanted))
        index = rows.clamp_min(0)
        unit = tokens.unit_features().flatten(0, 1)[index]
        attention = torch.nan_to_num(scores["received_attention"].float()).clamp_min(0.0).flatten()[index]
        distance = torch.bmm(unit, unit.mT).neg_().add_(1.0).clamp_min_(0.0)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        distance.masked_fill_(~present[:, None, :], torch.inf)
        # 4 is beyond every distance: a window's only token has no neighbour, yet must beat what cannot be chosen.
        lonely = (distance.amin(2).clamp_max(4.0) * attention).masked_fill(~present, -torch.inf).argmax(1)
        row = torch.arange(len(rows), device=rows.device)
        chosen = torch.zeros_like(present)
        chosen[row, lonely] = True
        chosen = farthest_first(Table(distance), distance[row, lonely], chosen, wanted, present, attention)
        kept = torch.zeros(valid.numel(), dtype=torch.bool, device=valid.device)
        kept[rows[chosen]] = True
        return Reduction.select(kept.view(valid.shape))

    def flops(self, work: Work) -> int:
        frames = min(self.params.window, work.frames)
        widest = -(-work.n * frames // work.frames)
        # At most as many windows have a share as there are survivors.
        return 2 * min(-(-work.frames // frames), work.m) * widest**2 * work.d
