"""Strided time: the average of k adjacent audio tokens (the connectors of SLAM-ASR, 2402.08846, and SpeechVerse)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.grouping import merge_boxes
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class StridedTime(Mechanism):
    """Near-equal runs of adjacent tokens, each averaged by mass at the position of its middle token.

    SLAM-ASR joins k = 5 adjacent tokens' features in a trained linear layer, SpeechVerse strides a trained convolution;
    the average is the form of both that needs no training. With a budget that divides the count every run has k
    tokens; else the runs differ by one.
    """

    name = "strided_time"
    family = "transformation"
    modalities = ("audio",)
    locations = ("projector",)
    criterion = "resolution"
    source = "SLAM-ASR, arXiv 2402.08846; SpeechVerse, arXiv 2405.08295"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, wide = tokens.valid, budget[:, None]
        count = tokens.count.clamp_min(1)[:, None]
        rank = (valid.cumsum(1) - 1).clamp_min(0)
        run = rank * wide // count
        first = (run * count + wide - 1) // wide
        last = ((run + 1) * count + wide - 1) // wide - 1
        return merge_boxes(run, rank == (first + last) // 2, valid, tokens.mass)
