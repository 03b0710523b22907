"""DASH for video: segments end where the audio breaks (2603.15685; official `dash` and `dash_istm`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import crowding
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.frames import change
from autotc.mechanisms.grouping import count_groups, group_mean
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import cut_at_breaks
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class DashVideoParams(Params):
    """Parameters of `DashVideo`, with the official code's values.

    ``threshold``: cosine between neighbours of the audio below which it breaks.
    ``seconds``: least length of a segment; the code's 30 audio tokens of Qwen2.5-Omni.
    ``guidance``: how much more of its tokens a segment keeps whose audio is kept whole than one whose audio is dropped.
    ``neighbours``: most similar tokens of a frame that say how crowded a token stands.
    """

    threshold: float = Field(0.4, ge=-1, le=1)
    seconds: float = Field(1.2, ge=0)
    guidance: float = Field(0.1, ge=0, le=1)
    neighbours: int = Field(5, ge=1)


class DashVideo(Mechanism):
    """Within segments that the audio's breaks define, even frames keep what stands apart, odd frames what changed.

    Frames 0, 2, ... of a segment keep the tokens of lowest mean cosine to the most similar ones of their frame, frames
    1, 3, ... those least like the same place in the frame before; frames of a segment keep alike many, and segments
    more where more of the audio was kept. As in the official code nothing is merged. The code lays the audio's places
    over the video's tokens, so that its segments begin within frames; it keeps segments shorter than two frames whole
    and drops what is left over of the last frame of each. Here a segment begins with the frame in which the audio
    breaks, all are treated alike, and counts meet the budget by largest remainders. Without audio it is one segment.
    """

    name = "dash_video"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("concurrent_retention", "concurrent_cosine")
    companion = "audio"
    uses_grid = True
    criterion = "spatio-temporal redundancy"
    source = "DASH, arXiv 2603.15685; `compute_audio_boundaries`, `dash` and `dash_istm` of the official code"
    Params = DashVideoParams
    params: DashVideoParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        size = count_groups(frame, valid, int(frame.max()) + 1)

        def by_frame(values: Tensor, fill: float, how: str) -> Tensor:
            clean = values.float().masked_fill(~valid, fill)
            return torch.full(size.shape, fill, device=valid.device).scatter_reduce_(1, frame, clean, how)

        broken = by_frame(torch.nan_to_num(scores["concurrent_cosine"], nan=1.0), 1.0, "amin") < params.threshold
        start = by_frame(tokens.box[..., 0], torch.inf, "amin")
        segment = cut_at_breaks(broken & (size > 0), start, params.seconds)
        of_token = segment.gather(1, frame)
        place = torch.arange(size.shape[1], device=valid.device).expand_as(segment)
        first = torch.full_like(segment, size.shape[1]).scatter_reduce_(1, segment, place, "amin").gather(1, segment)
        even = ((place - first) % 2 == 0).gather(1, frame)

        retained = torch.nan_to_num(scores["concurrent_retention"].double(), nan=1.0)[..., None]
        retention = group_mean(retained, of_token, valid.double(), size.shape[1])[..., 0].gather(1, segment)
        share = budget[:, None] / tokens.count[:, None].double() - params.guidance * (0.5 - retention)
        count = allocate(budget, share.clamp(0.05, 0.9), size)

        alone = -crowding(tokens.unit_features(), frame, valid & even, params.neighbours)
        score = torch.where(even, alone, change(tokens, torch.ones_like(frame)))
        return Reduction.select(top_per_group(score, frame, count, valid))

    def flops(self, work: Work) -> int:
        # Segments decide which frames are even: at most all.
        return 2 * work.n * (work.n // work.frames) * work.d + 2 * work.n * work.d
