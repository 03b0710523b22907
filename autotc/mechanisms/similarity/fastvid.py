"""FastVID: density pruning within dynamic segments (2503.11187; official `modeling_qwen2.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import DensityParams, Mechanism, Work
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import count_groups, group_mean, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.segments import cut_at_transitions, frames_to_end
from autotc.mechanisms.selection import top_per_group, unit
from autotc.mechanisms.tokens import Tokens

_NEIGHBOURS = 4


class FastVidParams(DensityParams):
    """Parameters of `FastVid`; the defaults are the published ones.

    ``segments``: cuts are made at the ``segments`` - 1 least similar transitions between frames; ``threshold``: and at
    all transitions of lower cosine. ``context_share``: of the survivors, anchors that gather others. ``anchor_step``:
    frames between two that hold anchors. ``anchor_weight``: least weight of an anchor against the mean of what it
    gathers. ``noise_seed``: of the published noise on the density; None for none.
    """

    segments: int = Field(8, ge=1)
    threshold: float = Field(0.9, ge=-1, le=1)
    context_share: float = Field(0.4, ge=0, lt=1)
    anchor_step: int = Field(4, ge=1)
    anchor_weight: float = Field(0.6, gt=0, le=1)


class FastVid(Mechanism):
    """Each frame keeps its salient tokens; the rest of a segment flows into density peaks of every fourth frame.

    Per frame, the tokens of highest attention in the tower stay as they are. A segment's other survivors are anchors,
    in its last frame and every fourth before it: peaks of density x separation among the frame's other tokens. Every
    dropped token flows, once for each anchor frame of its segment, into the nearest anchor there by cosine; an anchor
    becomes w x itself + (1 - w) x the mean of what it gathers, w = max(1 / (gathered + 1), 0.6). Salience is the class
    token's attention, or what a token receives where there is none; the code for LLaVA-OneVision takes that of the
    tower's pooling head. Unlike the code, anchors gather neither themselves nor tokens that survive elsewhere, so that
    keeping all changes nothing (its version for Qwen2.5-VL exempts the salient ones); frames are compared by the mean
    of their tokens, as that version does, where the others take the tower's pooled output; and shares go by
    largest remainders, where it rounds off. Its noise on the density, which decides alone where tokens are far apart
    (`density_peaks`), comes with ``noise_seed``; without it equal densities count in order.
    """

    name = "fastvid"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "salience and density within segments"
    source = "FastVID, arXiv 2503.11187; `modeling_qwen2.py` of the official code"
    Params = FastVidParams
    params: FastVidParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        frame = present_frames(tokens)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        present = size > 0
        means = unit(group_mean(tokens.features, frame, valid.float(), size.shape[1]), present)
        segment = cut_at_transitions(means, present, self.params.segments, self.params.threshold)
        anchors = present & (frames_to_end(segment, present) % self.params.anchor_step == 0)

        context = self._context(budget)
        salient_count = allocate(budget - context, size.double(), size)
        salient = top_per_group(scores["cls_attention"], frame, salient_count, valid)
        # A segment's share is spread evenly over its anchor frames.
        total = torch.zeros_like(size).scatter_add_(1, segment, size).gather(1, segment)
        holders = torch.zeros_like(size).scatter_add_(1, segment, anchors.long()).gather(1, segment)
        weight = (total / holders.clamp_min(1)).masked_fill(~anchors, 0.0)
        count = allocate(context, weight, size - salient_count)
        centres, _ = cluster_groups(
            tokens.features, frame, count, valid & ~salient, _NEIGHBOURS, noise_seed=self.params.noise_seed
        )
        return self._gather(tokens, salient, centres, frame, segment.gather(1, frame))

    def _context(self, budget: Tensor) -> Tensor:
        """Anchors among the survivors, (B,) long."""
        return (budget.double() * self.params.context_share + 1e-9).long()

    def _gather(self, tokens: Tokens, salient: Tensor, centres: Tensor, frame: Tensor, segment: Tensor) -> Reduction:
        """What is neither salient nor an anchor flows into the nearest anchor of each anchor frame of its segment."""
        kept = salient | centres
        scaled = tokens.unit_features()
        movers, sinks = Reduction.select(tokens.valid & ~kept), Reduction.select(centres)
        mover, sink = movers.keep.clamp_min(0), sinks.keep.clamp_min(0)
        cosine = torch.bmm(movers.apply(scaled), sinks.apply(scaled).mT)
        # Only anchors of a token's own segment count.
        near = segment.gather(1, mover)[:, :, None] == segment.gather(1, sink)[:, None]
        near = near & (movers.keep >= 0)[:, :, None] & (sinks.keep >= 0)[:, None]
        cosine = cosine.masked_fill(~near, -torch.inf)
        # Of the anchors in each frame, the most alike; of equals, the first.
        held = frame.gather(1, sink)[:, None].expand(cosine.shape)
        shape = (*cosine.shape[:2], int(frame.max()) + 1)
        best = cosine.new_full(shape, -torch.inf).scatter_reduce_(2, held, cosine, "amax")
        column = torch.arange(cosine.shape[2], device=cosine.device).expand(cosine.shape)
        column = column.masked_fill(~near | (cosine < best.gather(2, held)), cosine.shape[2])
        first = torch.full(shape, cosine.shape[2], device=cosine.device).scatter_reduce_(2, held, column, "amin")
        row, at, frame_at = (first < cosine.shape[2]).nonzero(as_tuple=True)
        source, target = mover[row, at], sink[row, first[row, at, frame_at]]

        # An anchor is w x itself + (1 - w) x the mean, by mass, of what it gathers.
        mass = tokens.mass.float()
        gathered, amount = torch.zeros_like(mass), torch.zeros_like(mass)
        gathered.index_put_((row, target), torch.ones_like(mass[row, source]), accumulate=True)
        amount.index_put_((row, target), mass[row, source], accumulate=True)
        self_weight = (1.0 / (gathered + 1.0)).clamp_min(self.params.anchor_weight).masked_fill(gathered == 0, 1.0)
        part = (1.0 - self_weight[row, target]) * mass[row, source] / amount[row, target]
        stays, token = kept.nonzero(as_tuple=True)
        return weighted(kept, (stays, token, token, self_weight[stays, token]), (row, source, target, part))

    def flops(self, work: Work) -> int:
        context = int(work.m * self.params.context_share + 1e-9)
        rest = -(-work.n // work.frames) - (work.m - context) // work.frames
        return 2 * work.d * (work.frames * rest**2 + (work.n - work.m) * context)
