"""OmniScope for video: frames that the query is about keep more (2607.23193; official `token_pruning`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import crowding
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.grouping import count_groups, group_mean, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class OmniScopeVideoParams(Params):
    """Parameters of `OmniScopeVideo`, with the official code's values.

    ``power``: of a frame's relevance. ``neighbours``: most similar tokens that say how crowded a token stands.
    ``change_below``: share of an odd frame below which it keeps what changed at its place.
    """

    power: float = Field(3.0, gt=0)
    neighbours: int = Field(5, ge=1)
    change_below: float = Field(0.4, ge=0, le=1)


class OmniScopeVideo(Mechanism):
    """Frames share the budget by their relevance to the query, cubed; each keeps the tokens that others replace least.

    Even frames keep the tokens of lowest mean cosine to the most similar ones of their frame. Odd frames keep those of
    the lowest product of the largest cosine within the frame and the largest to the frame before; where they keep at
    most ``change_below`` of their tokens, those least like the same place before. A frame's relevance is the mean
    cosine of its tokens to the query's mean embedding, where the code asks CLIP for each frame. The code rounds each
    frame's count to a rectangle of the frame's shape, of at least 2 x 2; here counts meet the budget by largest
    remainders.
    """

    name = "omniscope_video"
    family = "query"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("text_similarity",)
    uses_grid = True
    criterion = "text_similarity with spatio-temporal redundancy"
    source = "OmniScope, arXiv 2607.23193; `token_pruning` of the official code"
    Params = OmniScopeVideoParams
    params: OmniScopeVideoParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        similarity = torch.nan_to_num(scores["text_similarity"].double())[..., None]
        relevance = group_mean(similarity, frame, valid.double(), size.shape[1])[..., 0].clamp_min(0.0)
        count = allocate(budget, relevance**params.power, size)

        scaled, odd = tokens.unit_features(), frame % 2 == 1
        apart = -crowding(scaled, frame, valid & ~odd, params.neighbours)
        unlike = -crowding(scaled, frame, valid & odd, 1) * _echo(tokens, scaled, frame, valid & odd)
        few = (count <= params.change_below * size).gather(1, frame)
        score = torch.where(odd, torch.where(few, change(tokens, torch.ones_like(frame)), unlike), apart)
        return Reduction.select(top_per_group(score, frame, count, valid))

    def flops(self, work: Work) -> int:
        squares = work.frames + work.frames // 2
        return 2 * squares * (work.n // work.frames) ** 2 * work.d + 2 * work.n * work.d


def _echo(tokens: Tokens, scaled: Tensor, frame: Tensor, members: Tensor) -> Tensor:
    """Largest cosine (B, N) of each token of full grids to the tokens of the frame before; 0 outside ``members``."""
    out = torch.zeros(members.numel(), device=members.device)
    frames = int(frame.max()) + 1
    rows = group_rows(frame, members, frames)
    back = frame_tokens(tokens).repeat_interleave(frames, 0)
    rows, back = (values[(rows >= 0).any(1)] for values in (rows, back))
    if rows.numel():
        present, flat = rows >= 0, scaled.flatten(0, 1)
        cosine = torch.bmm(flat[rows.clamp_min(0)], flat[(rows - back).clamp_min(0)].mT)
        out[rows[present]] = cosine.masked_fill(~present[:, None], -torch.inf).amax(2)[present]
    return out.view(members.shape)
