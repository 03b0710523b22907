"""Text attention: what the query's tokens attend to (PruneVid, 2412.16117, section 3.3; official `VTPWindowCache`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, top_per_group
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class TextAttentionParams(Params):
    """Parameters of `TextAttention`.

    ``reduce``: over the query's tokens; the default is PruneVid's. ``per_frame``: every frame keeps the same share of
    its tokens.
    """

    reduce: Literal["max", "mean"] = "max"
    per_frame: bool = False


class TextAttention(Mechanism):
    """Top-k of the attention that the query's tokens pay, the largest over heads and over the query.

    PruneVid's code keeps the same share of each segment's static tokens and of each frame's other tokens; a stage in
    the decoder knows no segments, so ``per_frame`` takes the frame that each token stands in. Text is the query span,
    where the code takes every token after the video.
    """

    name = "text_attention"
    family = "query"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("text_attention",)
    head_reduction = "max"
    criterion = "text_attention"
    source = "PruneVid, arXiv 2412.16117, section 3.3; `VTPWindowCache.process_attention` of the official code"
    Params = TextAttentionParams
    params: TextAttentionParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        attention, valid = scores["text_attention"].float(), tokens.valid
        score = attention.amax(2) if self.params.reduce == "max" else attention.mean(2)
        if not self.params.per_frame:
            return Reduction.select(top_mask(score, budget, valid))
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        return Reduction.select(top_per_group(score, frame, allocate(budget, size.to(torch.float64), size), valid))
