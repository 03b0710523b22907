"""PruneVid's merge before the language model (2412.16117, section 3.2; official `merge_frames_dynamic`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import AdaptiveParams, DensityParams, Mechanism, Work
from autotc.mechanisms.frames import frame_tokens
from autotc.mechanisms.grouping import count_groups, group_cosine, merge_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import segments_of_clusters
from autotc.mechanisms.tokens import Tokens

_WHOLE = 14
"""Sets of at most this many tokens are not clustered by the published rule."""


class PruneVidParams(AdaptiveParams, DensityParams):
    """Parameters of `PruneVid`; the defaults are those of the official scripts.

    ``segment_share``: segments wanted, of the frames. ``static_threshold``: mean cosine above which a place is static.
    ``neighbours``: k of the density. ``cluster_share``: of each set of tokens, with ``adaptive`` alone.
    ``noise_seed``: of the published noise on the density; None for none.
    """

    segment_share: float = Field(0.25, gt=0, le=1)
    static_threshold: float = Field(0.8, ge=-1, le=1)
    neighbours: int = Field(7, ge=1)
    cluster_share: float = Field(0.5, gt=0, le=1)


class PruneVid(Mechanism):
    """In segments of alike frames, merge static places over time, then cluster in space.

    Frames are clustered by DPC-KNN on their means. A place is static where the mean cosine over the pairs of its
    segment's frames passes a threshold. The static tokens of a segment, and the others of each frame, are clustered by
    DPC-KNN and averaged. The published rule halves each such set that is larger than 14 (``adaptive``); here each gets
    one cluster and then a share of the budget by its size, and only the most static places merge where all of them
    would leave too few. Survivors stay in raster order. The code's noise on the density, which decides alone where
    tokens are far apart (`density_peaks`), comes with ``noise_seed``; without it ties go to the earlier.
    """

    name = "prunevid"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "segment redundancy"
    source = "PruneVid, arXiv 2412.16117, section 3.2; `merge_frames_dynamic` of the official code"
    Params = PruneVidParams
    params: PruneVidParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        frames, area = int(frame.max()) + 1, int(frame_tokens(tokens).max())
        values = tokens.features.float().masked_fill(~valid[..., None], 0.0)
        segment = self._segment(values, frame, valid, frames).gather(1, frame)

        first = valid.int().argmax(1, keepdim=True)
        place = torch.arange(valid.shape[1], device=valid.device) - first - frame * frame_tokens(tokens)
        spot = (segment * area + place).masked_fill(~valid, 0)
        cosine = group_cosine(tokens.unit_features(), spot, valid, frames * area)
        spare = None if params.adaptive else tokens.count - budget
        over_time, static = merge_groups(tokens, spot, cosine, params.static_threshold, spare)

        at, left = over_time.keep.clamp_min(0), over_time.keep >= 0
        group = torch.where(static, segment, frames + frame).gather(1, at).masked_fill(~left, 0)
        size = count_groups(group, left, 2 * frames)
        count = allocate(budget, (size - 1).clamp_min(0).double(), size, least=1)
        if params.adaptive:
            published = torch.where(size > _WHOLE, (size.double() * params.cluster_share + 1e-9).long(), size)
            published = torch.maximum(published, size.clamp_max(1))
            count = torch.where((published.sum(1) <= budget)[:, None], published, count)
        moved = over_time.apply(values)
        centre, target = cluster_groups(moved, group, count, left, params.neighbours, noise_seed=params.noise_seed)
        return over_time.then(Reduction.merge(centre, target, over_time.mass(tokens.mass)[0]))

    def _segment(self, values: Tensor, frame: Tensor, valid: Tensor, frames: int) -> Tensor:
        """Segment of each frame, (B, T) long."""
        size = count_groups(frame, valid, frames)
        mean = values.new_zeros(values.shape[0], frames, values.shape[2])
        mean.scatter_add_(1, frame[..., None].expand_as(values), values)
        mean = mean / size.clamp_min(1)[..., None]
        present = size > 0
        wanted = (present.sum(1).double() * self.params.segment_share + 1e-9).long().clamp_min(1)
        k, seed = self.params.neighbours, self.params.noise_seed
        _, label = cluster_groups(mean, torch.zeros_like(size), wanted[:, None], present, k, noise_seed=seed)
        return segments_of_clusters(label.clamp_min(0), present)

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        return 2 * work.d * (work.frames**2 + 2 * work.frames * area**2)
