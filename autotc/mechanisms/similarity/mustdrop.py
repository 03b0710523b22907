"""MustDrop's merge of alike windows (2411.10803, section 3.2; official `conditional_pooling`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism
from autotc.mechanisms.grouping import count_groups, group_cosine
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class MustDropParams(AdaptiveParams):
    """Parameters of `MustDrop`; the defaults are those of the official code.

    ``window``: side of the square windows. ``key_share``: of the tokens, those that are never merged.
    ``similarity_threshold`` counts with ``adaptive`` alone.
    """

    window: int = Field(3, ge=2, le=16)
    key_share: float = Field(0.08, ge=0, le=1)
    similarity_threshold: float = Field(0.8, ge=-1, le=1)


class MustDrop(Mechanism):
    """Windows whose tokens are most alike become one token each; the tokens that the class token attends to stay.

    A window's likeness is the mean cosine over its pairs; its tokens flow into its last, averaged by mass. The code
    merges every window above a threshold (``adaptive``), after the tower's first block; here the most alike windows
    merge until the count is met, the last of them in part, after the projector. The code's key tokens are safe from the
    filter in the decoder, which cannot know them here; instead they are kept out of the merge. They go by the attention
    of the next-to-last block, in the code by the last block's. Below what merging all windows leaves, the least
    attended survivors go.
    """

    name = "mustdrop"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "local similarity"
    source = "MustDrop, arXiv 2411.10803, section 3.2; `conditional_pooling` of the official code"
    Params = MustDropParams
    params: MustDropParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, attention = tokens.valid, scores["cls_attention"]
        count = tokens.count
        keys = (count.double() * self.params.key_share - 1e-9).ceil().long().clamp_min(0)
        free = valid & ~top_mask(attention, keys, valid)
        t, y, x = tokens.grid.masked_fill(~valid[..., None], 0).unbind(2)
        y, x = y // self.params.window, x // self.params.window
        rows, columns = y.amax(1, keepdim=True) + 1, x.amax(1, keepdim=True) + 1
        window = (t * rows + y) * columns + x
        windows = int(window.max()) + 1

        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        last = torch.full_like(count_groups(window, free, windows), -1)
        last.scatter_reduce_(1, window, torch.where(free, place, -1), "amax")
        sink = last.gather(1, window)
        alike = group_cosine(tokens.unit_features(), window, free, windows).gather(1, window)
        movable = free & (sink != place)
        leaving = count - budget
        if self.params.adaptive:
            passing = movable & (alike >= self.params.similarity_threshold)
            leaving = torch.maximum(leaving, passing.sum(1))
        moved = top_mask(alike, torch.minimum(leaving, movable.sum(1)), movable)
        keep = top_mask(attention, budget, valid & ~moved)
        target = torch.where(moved, sink, place)
        target = torch.where(keep.gather(1, target) & valid, target, -1)
        return Reduction.merge(keep, target, tokens.mass)
