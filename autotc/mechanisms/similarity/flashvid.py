"""FlashVID: salient, diverse tokens, and trees of like tokens over time (2602.08024; official `flashvid/utils.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Table, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate, allocate_within
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import DensityParams, Mechanism, Work
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import count_groups, group_mean, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import cut_at_transitions
from autotc.mechanisms.selection import unit
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.trees import join_frame_before

_NEIGHBOURS = 7


class FlashVidParams(DensityParams):
    """Parameters of `FlashVid`; the defaults are those of the official scripts for LLaVA-OneVision.

    ``segments``, ``segment_threshold``: cuts are made at the ``segments`` - 1 least similar transitions between frames
    and at all of lower cosine (Qwen2.5-VL: 4 segments). ``alpha``: share of the survivors that are chosen by attention
    and diversity. ``merge_threshold``: cosine above which tokens join one of the frame before. ``events``: whether
    relevance to the segment counts beside attention (Qwen2.5-VL: not). ``noise_seed``: of the published noise on the
    density; None for none.
    """

    segments: int = Field(8, ge=1)
    segment_threshold: float = Field(0.9, ge=-1, le=1)
    alpha: float = Field(0.7, ge=0, le=1)
    merge_threshold: float = Field(0.8, ge=-1, le=1)
    events: bool = True


class FlashVid(Mechanism):
    """Each frame keeps diverse tokens of high attention; the rest merge into trees over time, then cluster in space.

    Diverse tokens are added one by one, each the one with the largest product of its distance to the nearest chosen one
    (1 - cosine), the attention it receives in the tower and its product with the segment's mean, where that is
    positive. Every other token joins the token most like it among the others of the frame before, within a segment and
    above a threshold; the most alike join first, until the segment's share is left. Each tree stands at its first
    token. The trees of each frame are then clustered by DPC-KNN.

    Unlike the code, averages are by mass (it divides a tree's sum by its root and the root's children alone); segments
    and frames share the budget by largest remainders, where it rounds up, and a frame without a share drops its trees;
    merging stops at the segment's share, where it stops one token earlier; chosen tokens of a segment of one frame are
    not clustered a second time. Its noise on the density, which decides alone where tokens are far apart
    (`density_peaks`), comes with ``noise_seed``; without it ties go to the earlier.
    """

    name = "flashvid"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("received_attention",)
    criterion = "attention with diversity, trees over time"
    source = "FlashVID, arXiv 2602.08024; `flashvid_compression` of the official code"
    Params = FlashVidParams
    params: FlashVidParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params, frame = tokens.valid, self.params, present_frames(tokens)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        frames, present = size.shape[1], size > 0
        means = group_mean(tokens.features, frame, valid.float(), frames)
        cut = cut_at_transitions(unit(means, present), present, params.segments, params.segment_threshold)
        segment = cut.gather(1, frame)
        salience = torch.nan_to_num(scores["received_attention"].float()).clamp_min(0.0)
        if params.events:
            event = group_mean(means, cut, present.float(), frames)
            event = event.gather(1, segment[..., None].expand_as(tokens.features))
            clean = tokens.features.float().masked_fill(~valid[..., None], 0.0)
            salience = salience * torch.einsum("bnd,bnd->bn", clean, event).clamp_min(0.0)

        wanted = (budget.double() * params.alpha - 1e-9).ceil().long()
        rows = group_rows(frame, valid, frames)
        cells = tokens.unit_features().flatten(0, 1)[rows.clamp_min(0)].masked_fill((rows < 0)[..., None], 0.0)
        chosen = self._diverse(cells, rows, salience, allocate(wanted, size.double(), size))
        whole, taken = (count_groups(segment, mask, frames) for mask in (valid, valid & chosen))
        share = allocate(budget - wanted, whole.double(), whole - taken)
        token = rows.view(*cut.shape, -1)
        loose = (token >= 0) & ~chosen.flatten()[token.clamp_min(0)]
        token = torch.where(token >= 0, token % valid.shape[1], -1)
        cells = cells.view(*token.shape, -1)
        root = join_frame_before(cells, token, loose, cut, segment, whole - taken - share, params.merge_threshold)
        place = torch.arange(valid.shape[1], device=valid.device)
        over_time = Reduction.merge(valid & (root == place), root.masked_fill(~valid, -1), tokens.mass)
        return over_time.then(self._clusters(tokens, over_time, chosen, frame, cut, share))

    def _clusters(
        self, tokens: Tokens, over_time: Reduction, chosen: Tensor, frame: Tensor, cut: Tensor, share: Tensor
    ) -> Reduction:
        """Cluster the trees of each frame, which get of the segments' ``share`` (B, T) by their number."""
        at, left = over_time.keep.clamp_min(0), over_time.keep >= 0
        kept = chosen.gather(1, at) & left
        group = frame.gather(1, at).masked_fill(~left, 0)
        trees = count_groups(group, left & ~kept, cut.shape[1])
        count = allocate_within(share, trees, cut)
        values, k = over_time.apply(tokens.features.float()), count.clamp(1, _NEIGHBOURS)
        centre, target = cluster_groups(values, group, count, left & ~kept, k, noise_seed=self.params.noise_seed)
        target = torch.where(kept, torch.arange(kept.shape[1], device=kept.device), target)
        return Reduction.merge(centre | kept, target, over_time.mass(tokens.mass)[0])

    @staticmethod
    def _diverse(cells: Tensor, rows: Tensor, salience: Tensor, count: Tensor) -> Tensor:
        """Tokens chosen by distance x salience, (B, N) bool, ``count`` (B, T) of each frame."""
        present, most = rows >= 0, count.flatten()
        weight = salience.flatten()[rows.clamp_min(0)].masked_fill(~present, 0.0)
        distance = torch.bmm(cells, cells.mT).neg_().add_(1.0)
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        distance.masked_fill_(~present[:, None], torch.inf)
        # A frame's only token has no neighbour.
        lonely = (distance.amin(2).clamp_max(4.0) * weight).masked_fill(~present, -torch.inf).argmax(1)
        index = torch.arange(len(rows), device=rows.device)
        start = torch.zeros_like(present)
        start[index, lonely] = most > 0
        picked = farthest_first(Table(distance), distance[index, lonely], start, most, present, weight)
        out = torch.zeros(salience.numel(), dtype=torch.bool, device=salience.device)
        out[rows[picked & present]] = True
        return out.view(salience.shape)

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        return 2 * work.d * (area**2 * (3 * work.frames - 1) + work.n * self.params.events)
