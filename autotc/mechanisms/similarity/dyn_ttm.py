"""DyCoke's temporal token merging (2411.15024, section 3.2; official code `dycole_ttm`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class DynTtm(Mechanism):
    """In groups of four frames, drop what resembles the same place of an earlier frame of the group.

    As in the official code, frame 1 is compared with 0, frame 3 with 2, frame 2 with 0; frame 0 stays whole; every
    other frame loses the same share; and what the paper calls merged is dropped, not averaged. Unlike it, survivors
    stay in raster order, the last group is treated like the others (the code keeps its frame 2 whole and loses a
    trailing odd frame), and the share is what meets the budget. Below one frame in four, which the published rule never
    reaches, the groups' first frames thin out by their change since the previous group.
    """

    name = "dyn_ttm"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "temporal redundancy"
    source = "DyCoke, arXiv 2411.15024, section 3.2; `dycole_ttm` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = tokens.grid[..., 0].masked_fill(~valid, -1)
        changed = change(tokens, frame.new_tensor([4, 1, 2, 1])[frame % 4])

        # Rank within the frame: by change, then (stably) by frame; padding comes first.
        order = changed.argsort(dim=1, descending=True, stable=True)
        order = order.gather(1, frame.gather(1, order).argsort(dim=1, stable=True))
        place = torch.arange(valid.shape[1], device=valid.device)
        padding = (~valid).sum(1, keepdim=True)
        within = place - padding - frame.gather(1, order) * frame_tokens(tokens)
        rank = torch.empty_like(within).scatter_(1, order, within)

        first_of_group = (changed + 1.0).masked_fill(frame == 0, torch.inf)
        score = torch.where(frame % 4 == 0, first_of_group, -rank.float())
        return Reduction.select(top_mask(score, budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d
