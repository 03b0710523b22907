"""STTM: a quadtree in space, directed merging in time (2507.07990; official `quadtree_build_video`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import group_mean
from autotc.mechanisms.quadtree import leaves, splits, tree_levels
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens


class SttmParams(AdaptiveParams):
    """Parameters of `Sttm`; the defaults are the official ones for half of the tokens of LLaVA-Video on Video-MME.

    ``space_threshold``: a cell splits when a part of it has a lower cosine to it. ``time_threshold``: of the adaptive
    form, cosine to the frame before from which cells merge. ``root_level``: levels below the coarsest at which trees
    begin.
    """

    space_threshold: float = Field(0.85, ge=-1, le=1)
    time_threshold: float = Field(0.55, ge=-1, le=1)
    root_level: int = Field(1, ge=0)


class Sttm(Mechanism):
    """Cells of a frame split into four where unlike their parts, then merge with like cells of the frame before.

    Sides are halved until one is at most 2 (an odd side leaves its first line alone), and trees begin one level below
    the coarsest. Every later cell has one partner: of the cells of the frame before that it holds or lies in, the most
    like it, which the code's slow version intends (it and the default one merge further pairs above the threshold).
    Cells merge along these links into the earliest. Averages are by mass, the code's ``weighted_avg``; a cell's missing
    parts are not compared, where the code takes the frame's corner for them. As in the code, a cell of one part (the
    corner between two odd sides) is never split on, however unlike the tokens in it.

    The rate-controlled form splits at the published threshold, then merges as many of the best links as meet the
    budget. Where that leaves too few cells, more are split, and where the first frame, whose cells cannot merge, has
    more cells than the budget, fewer are: in the order of the thresholds at which the rule would split them, and within
    a cell part by part, the least like it first. A place whose token is gone has the last frame's that held it.
    """

    name = "sttm"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("projector", "decoder")
    criterion = "quadtree merge"
    source = "STTM, arXiv 2507.07990; `quadtree_build_video`, `cross_frame_node_merging_slow` of the code"
    Params = SttmParams
    params: SttmParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = present_frames(tokens)
        frames = frame.amax(1) + 1
        levels = tree_levels(tokens, frame, self.params.root_level)
        cost, part = splits(levels, valid)
        order = cost.argsort(dim=1, stable=True)
        real = cost.gather(1, order).isfinite()

        called_for = (cost < self.params.space_threshold).sum(1)
        opening = frame.gather(1, part.gather(1, order)) == 0
        # The cells of frame 0 cannot merge: there may be no more of them than the budget.
        allowed = (((opening & real).cumsum(1) < budget[:, None]) & real).sum(1)
        made = torch.minimum(called_for, allowed)
        if not self.adaptive:
            made = torch.where(frames + called_for < budget, budget - frames, made)
        done = torch.zeros_like(real).scatter_(
            1, order, torch.arange(order.shape[1], device=real.device) < made[:, None]
        )
        leaf = leaves(levels, done, part, valid)
        root = self._roots(tokens, frame, leaf, (frames + made - budget).clamp_min(0))
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def _roots(self, tokens: Tokens, frame: Tensor, leaf: Tensor, spare: Tensor) -> Tensor:
        """The token that each flows into, (B, N) long, with ``spare`` cells merged into the frames before."""
        valid = tokens.valid
        rows, n = valid.shape
        place = torch.arange(n, device=valid.device).expand(rows, n)
        spot = tokens.grid[..., 1] * (int(tokens.grid[..., 2].max()) + 1) + tokens.grid[..., 2]
        spot = spot.masked_fill(~valid, -1)
        order = (spot * (int(frame.max()) + 1) + frame).argsort(dim=1, stable=True)
        sorted_spot, before = spot.gather(1, order), order.roll(1, 1)
        repeats = (sorted_spot == sorted_spot.roll(1, 1)) & (sorted_spot >= 0)
        repeats[:, 0] = False
        before = torch.zeros_like(order).scatter_(1, order, torch.where(repeats, before, -1))

        scaled = unit(group_mean(tokens.features, leaf, tokens.mass.float(), n), valid)
        partner = leaf.gather(1, before.clamp_min(0))
        wide = (-1, -1, scaled.shape[2])
        cosine = scaled.gather(1, leaf[..., None].expand(wide)) * scaled.gather(1, partner[..., None].expand(wide))
        alike = cosine.sum(2).masked_fill(before < 0, -2.0)
        best = torch.full_like(alike, -2.0).scatter_reduce_(1, leaf, alike, "amax")
        nearest = (before >= 0) & (alike >= best.gather(1, leaf))
        link = torch.full_like(leaf, n).scatter_reduce_(1, leaf, partner.masked_fill(~nearest, n), "amin")
        start = leaf.gather(1, (valid & (frame == 0)).int().argmax(1, keepdim=True))
        link = torch.where(link == n, start, link)

        later = valid & (leaf == place) & (frame > 0)
        if self.adaptive:
            spare = spare.maximum((later & (best >= self.params.time_threshold)).sum(1))
        root = torch.where(top_mask(best, spare, later), link, place)
        for _ in range(int(frame.max()).bit_length()):
            root = root.gather(1, root)
        return root.gather(1, leaf)
