"""VidCom2: distinct frames, and tokens far from two centres (2505.14454; official `vidcom2.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.closeness import closeness, steady_half
from autotc.mechanisms.contract import CountedParams, Mechanism
from autotc.mechanisms.counting import engine_count, pruning_rate
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import count_groups, group_mean
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, top_per_group, unit
from autotc.mechanisms.tokens import Tokens

_TEMPERATURE = 0.01


class VidCom2(Mechanism):
    """Keep the tokens least like the centre of the video and of their frame; distinct frames keep more.

    As in the official code, only the half of the channels with the lowest variance is looked at, each token's are
    scaled to norm 1, a frame's share follows from a softmax (temperature 0.01) of its mean distance to the video's
    centre, and every frame rounds its count, to at least one. The code ends there, near the budget; here the counts are
    met exactly, as vLLM does: the most distinct of the dropped tokens come back, or the least distinct of the kept ones
    go. With ``counting: engine`` the count is vLLM's too, rounded down and never less than one token a frame, and
    frames' shares follow the ratio, as there, and not the count.
    """

    name = "vidcom2"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector", "decoder")
    criterion = "distance to the centres of video and frame"
    source = "VidCom2, arXiv 2505.14454; `vidcom2_compression` of the official code; vLLM's `video_prune/vidcom2.py`"
    Params = CountedParams
    params: CountedParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        ones = valid.float()
        frame = present_frames(tokens)
        frames = int(frame.max()) + 1
        values = unit(steady_half(tokens.features, valid), valid)

        of_video = closeness(values, group_mean(values, torch.zeros_like(frame), ones, 1))
        centres = group_mean(values, frame, ones, frames)
        of_frame = closeness(values, centres.gather(1, frame[..., None].expand_as(values)))
        size = count_groups(frame, valid, frames)
        distinct = -group_mean(of_video[..., None], frame, ones, frames)[..., 0]
        share = (distinct.masked_fill(size == 0, -torch.inf) / _TEMPERATURE).softmax(1)
        average = 1.0 / (size > 0).sum(1, keepdim=True)
        # Rounding noise must not decide between two counts.
        kept_share = budget[:, None] / tokens.count[:, None].double()
        if self.params.counting == "engine" and self.keep_ratio is not None:
            kept_share = torch.full_like(kept_share, 1.0 - pruning_rate(self.keep_ratio))
        ideal = kept_share * size * (1.0 + share - average)
        count = (ideal * 1e6).round().div(1e6).round().long().clamp_min(1).minimum(size)

        score = -(of_video + of_frame)
        kept = top_per_group(score, frame, count, valid)
        kept_count = kept.sum(1)
        kept = top_mask(score, kept_count.minimum(budget), kept) | top_mask(
            score, (budget - kept_count).clamp_min(0), valid & ~kept
        )
        return Reduction.select(kept)

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        if self.params.counting == "policy":
            return super().target(keep_ratio, n0, left, grid)
        # `compute_retained_tokens_count`
        return min(left, max(grid[0], engine_count(keep_ratio, n0)))
