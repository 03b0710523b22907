"""EarlyTom in the tower: frames of a window merge with the one before (2605.30010; official `siglip_encoder.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.attention.earlytom import EarlyTomParams
from autotc.mechanisms.contract import Mechanism, Work
from autotc.mechanisms.frames import frame_likeness, present_frames, same_place_before
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import inner_frames, windows_by_drift
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.trees import first_ancestors


class EarlyTomFrames(Mechanism):
    """Frames most like the one before merge with it, place by place; inside a window first.

    Windows are runs of frames that stay like their first one; the first and the last of a window stay as long as there
    are others. This is the rate-controlled form: frames join whole, and of the last to join only as many places, the
    most alike, as meet the budget. The code merges a pair inside a window where it is more alike than the window's ends
    and than the next pair, by weights near a half (at the window's end by 1 and 0), and loses a frame that is left over
    there; here averages are by mass. Below one token for each place, which the published rule never reaches, tokens
    join the one before them.
    """

    name = "earlytom_frames"
    family = "similarity"
    modalities = ("video",)
    locations = ("encoder", "projector")
    criterion = "likeness of frames"
    source = "EarlyTom, arXiv 2605.30010; `SigLipEncoder.compression` of the official code"
    Params = EarlyTomParams
    params: EarlyTomParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = present_frames(tokens)
        present = count_groups(frame, valid, int(frame.max()) + 1) > 0
        likeness = frame_likeness(tokens, frame)
        window = windows_by_drift(likeness, self.params.threshold, self.params.longest)
        inner = inner_frames(window, present)
        score = torch.zeros(present.shape, device=valid.device)
        score[:, 1:] = likeness.diagonal(1, 1, 2) + 8.0 * (inner[:, 1:] & inner[:, :-1])

        place = torch.arange(valid.shape[1], device=valid.device).expand_as(frame)
        before = same_place_before(tokens, frame)
        score = torch.where(before >= 0, score.gather(1, frame), -16.0)
        parent = torch.where(before >= 0, before, (place - 1).clamp_min(0))
        unit = tokens.unit_features()
        alike = torch.einsum("bnd,bnd->bn", unit, unit.gather(1, parent[..., None].expand_as(unit)))
        # A row's first token has none before it.
        stays = ~valid | (valid.cumsum(1) == 1)
        order = alike.argsort(dim=1, descending=True, stable=True)
        score = score.masked_fill(stays, -torch.inf).gather(1, order)
        order = order.gather(1, score.argsort(dim=1, descending=True, stable=True))
        joined = torch.zeros_like(valid).scatter(1, order, place < (tokens.count - budget)[:, None])
        root = first_ancestors(torch.where(joined, parent, place), valid.shape[1])
        return Reduction.merge(valid & ~joined, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        return 2 * work.frames * work.n * (work.d + 1) + 2 * work.n * work.d
