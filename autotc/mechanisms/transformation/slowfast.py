"""SlowFast: few frames in detail, all others pooled hard (SlowFast-LLaVA, 2407.15841; official `prepare_slowfast`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import merge_boxes
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.transformation.avg_pool import partition


class SlowFastParams(Params):
    """Parameters of `SlowFast`.

    ``slow_frames``: share of the frames on the slow path; the default is the published 10 of 50.
    ``slow_share``: share of the survivors that the slow path gets; the default is the published 2880 of 3680 (10 frames
    of 24 x 12 beside 50 of 4 x 4).
    """

    slow_frames: float = Field(10 / 50, gt=0, le=1)
    slow_share: float = Field(2880 / 3680, ge=0, le=1)


class SlowFast(Mechanism):
    """Evenly spaced slow frames are pooled lightly, the other frames hard; both paths' boxes are averaged.

    Slow frames are the floor(i x T / S)-th, as in the official code. There the fast path takes the slow frames as well,
    and follows the slow path in the sequence; here a survivor needs a position of its own, at the centre of its box, so
    the fast path skips the slow frames and the two interleave in time. Slow frames are averaged, where the code
    takes the maximum of pairs (a maximum is no linear map). What one path cannot take goes to the other.
    """

    name = "slowfast"
    family = "transformation"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "resolution"
    source = "SlowFast-LLaVA, arXiv 2407.15841; `prepare_slowfast` of the official code"
    Params = SlowFastParams
    params: SlowFastParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        time = tokens.grid[..., 0].masked_fill(~valid, 0)
        frames = time.amax(1) + 1
        slow_count = (frames.double() * self.params.slow_frames + 0.5).long().clamp_min(1)
        slow_count = torch.minimum(slow_count, frames)
        # The first slow frame at or after t x S / T; frame t is slow if it holds just that one.
        following = (time * slow_count[:, None] + frames[:, None] - 1) // frames[:, None]
        holds = following * frames[:, None] < (time + 1) * slow_count[:, None]
        slow = valid & holds & (following < slow_count[:, None])
        fast = valid & ~slow

        slow_budget = (budget.double() * self.params.slow_share + 0.5).long()
        slow_budget = torch.maximum(torch.minimum(slow_budget, slow.sum(1)), budget - fast.sum(1))
        fast_budget = budget - slow_budget
        slow_box, slow_centre = self._path(tokens, slow, following, slow_budget)
        fast_box, fast_centre = self._path(tokens, fast, time - following, fast_budget)
        members = (slow & (slow_budget > 0)[:, None]) | (fast & (fast_budget > 0)[:, None])
        box = torch.where(slow, slow_box, fast_box + slow_budget[:, None])
        return merge_boxes(box, slow_centre | fast_centre, members, valid.float())

    @staticmethod
    def _path(tokens: Tokens, mask: Tensor, time: Tensor, budget: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes and centres of the frames of one path, which ``time`` (B, N) numbers from 0."""
        grid = torch.cat([time[..., None], tokens.grid[..., 1:]], -1)
        return partition(dataclasses.replace(tokens, valid=mask, grid=grid), budget.clamp_min(1))
