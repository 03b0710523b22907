"""Tango: salient tokens of each cluster, and clusters that know their place (2604.09547; official `tango/utils.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate, allocate_within
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.frames import turned_by_place
from autotc.mechanisms.grouping import count_groups, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import merge_static_places
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens


class TangoParams(Params):
    """Parameters of `Tango`; the defaults are those of the official scripts at 10%.

    ``static_threshold``: cosine to the frame before above which a place is static (0.8 at higher ratios).
    ``context_share``: of the survivors, those that others merge into. ``candidates``: for each salient survivor, the
    tokens of highest attention among which it is chosen. ``anchor_weight``: least weight of an anchor against its
    cluster's mean. ``neighbours``: k of the density. ``time_base``, ``space_base``: of the rotation by seconds, and by
    rows and columns.
    """

    static_threshold: float = Field(0.65, ge=-1, le=1)
    context_share: float = Field(0.4, ge=0, le=1)
    candidates: float = Field(1.5, ge=1)
    anchor_weight: float = Field(0.6, gt=0, le=1)
    neighbours: int = Field(7, ge=1)
    time_base: float = Field(10000.0, gt=1)
    space_base: float = Field(1000.0, gt=1)


class Tango(Mechanism):
    """Static places merge over time; of each set of tokens, every cluster of the most attended keeps its most attended.

    Segments and their static places are HoliTom's. The static tokens of a segment are a set, the others of each frame
    another, and sets share the segment's part by size. Of a set's most attended tokens, clusters by DPC-KNN keep the
    most attended each. The rest flows into anchors, peaks of density x separation among the set's, or for the others of
    a segment among all its frames': an anchor becomes w x itself + (1 - w) x the mean of its cluster, itself included,
    w = max(1 / size, 0.6). Distances are between features of norm 1, of which a third each is rotated by the time, the
    row and the column of their token. Averages over time are by mass.

    Unlike the code, the tower's sinks of attention, which it lists by position for each model, are not left out; parts
    go by largest remainders, where it rounds up; where merging all static places would leave less than the budget, only
    the most static ones merge; ties of density, which it breaks by noise (here no more than that, since features have
    norm 1: `density_peaks`), go to the earlier.
    """

    name = "tango"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("received_attention",)
    uses_grid = True
    criterion = "attention by cluster, clusters by place"
    source = "Tango, arXiv 2604.09547; `tango_token_merger` and `SpatioTemporalRoPE` of the official code"
    Params = TangoParams
    params: TangoParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        over_time, static, cut = merge_static_places(tokens, params.static_threshold, tokens.count - budget)
        at, left = over_time.keep.clamp_min(0), over_time.keep >= 0
        frames = cut.shape[1]
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        segment = cut.gather(1, frame)
        own = segment.gather(1, at)
        share = allocate(budget, count_groups(segment, valid, frames).double(), count_groups(own, left, frames))
        static = static.gather(1, at) & left
        group = torch.where(static, own, frames + frame.gather(1, at)).masked_fill(~left, 0)
        size = count_groups(group, left, 2 * frames)
        count = allocate_within(
            share, size, torch.cat([torch.arange(frames, device=cut.device).expand_as(cut), cut], 1)
        )

        # `cluster_groups` divides distances by the square root of the width.
        rotated = turned_by_place(tokens, params.time_base, params.space_base) * tokens.features.shape[2] ** 0.5
        rotated = rotated.gather(1, at[..., None].expand(-1, -1, tokens.features.shape[2]))
        seen = over_time.apply(scores["received_attention"].float())
        wanted = (count.double() * (1.0 - params.context_share) + 1e-9).long()
        most = (wanted.double() * params.candidates + 1e-9).long()
        ahead = top_per_group(seen, group, most, left)
        centre, cluster = cluster_groups(rotated, group, wanted, ahead, params.neighbours, itself=False)
        salient = top_per_group(seen, cluster.clamp_min(0), centre.long(), ahead & (cluster >= 0))
        anchor, target = self._anchors(rotated, static, own, left & ~salient, count - wanted, cut)
        return over_time.then(self._join(salient, anchor, target, over_time.mass(tokens.mass)[0]))

    def _anchors(
        self, rotated: Tensor, static: Tensor, segment: Tensor, rest: Tensor, context: Tensor, cut: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Anchors of each segment's static tokens and of its others, (B, N) bool, and the anchor of each token."""
        frames = cut.shape[1]
        anchor, target = torch.zeros_like(rest), torch.full_like(segment, -1)
        others = torch.zeros_like(cut).scatter_add_(1, cut, context[:, frames:])
        # One segment after another: rows as long as the longest would hold mostly padding.
        for kind, wanted in ((rest & static, context[:, :frames]), (rest & ~static, others)):
            for number in range(int(cut.max()) + 1):
                members = kind & (segment == number)
                centres, nearest = cluster_groups(
                    rotated,
                    torch.zeros_like(segment),
                    wanted[:, number : number + 1],
                    members,
                    self.params.neighbours,
                    False,
                )
                anchor, target = anchor | centres, torch.where(members, nearest, target)
        return anchor, target

    def _join(self, salient: Tensor, anchor: Tensor, target: Tensor, mass: Tensor) -> Reduction:
        """Salient tokens stay; an anchor is itself and its cluster's mean by mass."""
        member = target >= 0
        into = target.clamp_min(0)
        size = torch.zeros_like(mass).scatter_add_(1, into, member.float())
        total = torch.zeros_like(mass).scatter_add_(1, into, mass * member)
        alone = (1.0 / size.clamp_min(1.0)).clamp_min(self.params.anchor_weight)
        part = (1.0 - alone.gather(1, into)) * mass / total.gather(1, into).clamp_min(1e-12)
        part = torch.where(salient, 1.0, torch.where(anchor, alone + part, part))
        row, token = (salient | (member & (part > 0))).nonzero(as_tuple=True)
        sink = torch.where(salient, torch.arange(mass.shape[1], device=mass.device), into)
        return weighted(salient | anchor, (row, token, sink[row, token], part[row, token]))

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        return 2 * work.d * (work.n + 2 * work.frames * area**2 + work.n**2)
