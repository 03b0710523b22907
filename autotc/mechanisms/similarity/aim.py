"""AIM's merge before the language model (2412.03248, section 3.1; official `bipartite_soft_matching_merge`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.matching import merge_within
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class Aim(Mechanism):
    """ToMe's matching within each frame, on the projected features themselves.

    Every frame keeps the same share. As in `ToMe`, evens and odds are counted in the order of positions, and averages
    are by mass, where the code counts from what the last round left first and averages each round's groups as equals.
    Below one token for each frame, which the published rule never reaches, frames are matched together.

    This is the form for video (LLaVA-OneVision). For images (LLaVA-1.5) the code matches by the keys of the tower's
    last block and merges the tower's features, before the projector: the preset has `ToMe` at the projector for it,
    which takes mean keys over heads of the block next to last, and merges what the projector has made.
    """

    name = "aim"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("projector",)
    criterion = "similarity merge"
    source = "AIM, arXiv 2412.03248, section 3.1; `bipartite_soft_matching_merge` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        frames = int(frame.max()) + 1
        few = (count_groups(frame, valid, frames) > 0).sum(1) > budget
        frame = frame.masked_fill(few[:, None], 0)
        size = count_groups(frame, valid, frames)
        quota = allocate(budget, size.double(), size, least=1)
        return merge_within(tokens, frame, quota)

    def flops(self, work: Work) -> int:
        rows = work.frames if work.m >= work.frames else 1
        left = [-(-work.n // rows), work.n // rows]
        quota = [-(-work.m // rows), work.m // rows]
        total = 0
        while any(a > b for a, b in zip(left, quota, strict=True)):
            widest = max(left)
            total += 2 * rows * ((widest + 1) // 2) * (widest // 2) * work.d
            left = [a - min(a - b, a // 2) for a, b in zip(left, quota, strict=True)]
        return total
