"""HiPrune: anchors of a middle block, their neighbours, and registers of a deep block (2508.00553; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group
from autotc.mechanisms.tokens import Tokens


class HiPruneParams(Params):
    """Parameters of `HiPrune`; ``alpha``: share of the survivors that are anchors and buffers, published 0.1."""

    alpha: float = Field(0.1, ge=0, le=1)


class HiPrune(Mechanism):
    """Top of the middle block's attention with the four neighbours of each, then top of the deep block's attention.

    Anchors number budget x alpha / 5, as in the official code. Unlike there, neighbours are those in the grid (the code
    goes by index, so that a row's end neighbours the next row's start, and clamps what lies outside to the first and
    last token), and the deep block is the next to last (the code takes the last that is read; on LLaVA they are one).
    The middle block is 9 of 24 on LLaVA, as published; on Qwen2.5-VL, as published too, 16 of 32. Attention is the mean
    received from all tokens, also where there is a class token. Should anchors and buffers alone exceed the budget,
    anchors come first, then buffers by attention.
    """

    name = "hiprune"
    family = "attention"
    modalities = ("image", "video")
    locations = ("projector",)
    needs = ("middle_attention", "received_attention")
    criterion = "middle_attention, received_attention"
    source = "HiPrune, arXiv 2508.00553; `encode_images` of the official code"
    Params = HiPruneParams
    params: HiPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        middle, deep = scores["middle_attention"].float(), scores["received_attention"].float()
        wanted = (budget.double() * self.params.alpha / 5).round().long()
        anchor = valid & (rank_in_group(middle, torch.zeros_like(tokens.grid[..., 0]), valid) < wanted[:, None])
        buffer = self._beside(anchor, tokens) & valid & ~anchor

        # Anchors, buffers, registers: each kind goes by its own rank, after all of the kinds before.
        kind = torch.where(anchor, 0, torch.where(buffer, 1, 2))
        rank = rank_in_group(torch.where(kind < 2, middle, deep), kind, valid)
        before = count_groups(kind, valid, 3).cumsum(1).roll(1, dims=1)
        before[:, 0] = 0
        return Reduction.select(valid & (rank + before.gather(1, kind) < budget[:, None]))

    @staticmethod
    def _beside(anchor: Tensor, tokens: Tokens) -> Tensor:
        """Mask (B, N) of the tokens next to an anchor, in the same frame."""
        t, y, x = tokens.grid.unbind(2)
        row, at = anchor.nonzero(as_tuple=True)
        # A margin of one place on every side takes what lies outside.
        room = [int(part.max()) + 3 for part in (t, y, x)] if anchor.numel() else [1, 1, 1]
        canvas = torch.zeros(anchor.shape[0], *room, dtype=torch.bool, device=anchor.device)
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            canvas[row, t[row, at], y[row, at] + 1 + dy, x[row, at] + 1 + dx] = True
        rows = torch.arange(anchor.shape[0], device=anchor.device)[:, None]
        return canvas[rows, t, y + 1, x + 1]
