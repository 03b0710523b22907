"""EarlyTom behind the tower: outer frames of a window by attention, inner ones strip by strip (2605.30010)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.frames import frame_likeness, present_frames
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import inner_frames, windows_by_drift
from autotc.mechanisms.selection import rank_in_group, top_per_group
from autotc.mechanisms.tokens import Tokens


class EarlyTomParams(Params):
    """Parameters of `EarlyTom` and `EarlyTomFrames`; ``threshold``: running likeness to a window's first frame below
    which a new window begins (0.3 to 0.8 in the official scripts); ``longest``: a window ends before this many frames.
    """

    threshold: float = Field(0.5, ge=-1, le=1)
    longest: int = Field(6, ge=2)


class EarlyTom(Mechanism):
    """Every frame keeps the same share: the first and last of a window its most attended, the others one a strip.

    Windows are runs of frames that stay like their first one. A frame inside a window is cut into as many strips of
    consecutive tokens as it keeps, and each strip keeps its most attended token. So the official code does by default;
    the clustering that it has beside the attention takes no share there. Windows are found on the projected features,
    where the code takes those of the last block that merges frames; shares go by largest remainders.
    """

    name = "earlytom"
    family = "attention"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("received_attention",)
    criterion = "attention within windows of frames"
    source = "EarlyTom, arXiv 2605.30010; `spatial_compression` of the official code"
    Params = EarlyTomParams
    params: EarlyTomParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, attention = tokens.valid, scores["received_attention"]
        frame = present_frames(tokens)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        window = windows_by_drift(frame_likeness(tokens, frame), self.params.threshold, self.params.longest)
        inner = inner_frames(window, size > 0).gather(1, frame) & valid
        count = allocate(budget, size.double(), size)
        outer = top_per_group(attention, frame, count, valid & ~inner)

        # Strips of a frame differ by one token at most, the longer ones first.
        within = rank_in_group(torch.zeros(valid.shape, device=valid.device), frame, valid)
        strips = count.gather(1, frame).clamp_min(1)
        width = size.gather(1, frame) // strips
        longer = size.gather(1, frame) % strips
        late = longer + (within - longer * (width + 1)) // width.clamp_min(1)
        strip = torch.where(within < longer * (width + 1), within // (width + 1), late)
        strip = ((count.cumsum(1) - count).gather(1, frame) + strip).masked_fill(~valid, 0)
        inner = inner & (count.gather(1, frame) > 0)
        one = torch.ones(valid.shape, dtype=torch.long, device=valid.device)
        return Reduction.select(outer | top_per_group(attention, strip, one, inner))

    def flops(self, work: Work) -> int:
        return 2 * work.frames * work.n * (work.d + 1)
