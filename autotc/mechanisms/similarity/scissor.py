"""LLaVA-Scissor: semantic connected components, twice (2506.21862; official `llava_arch_zip.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.components import join_pairs, spanning_tree
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import group_mean, group_rows, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens


class ScissorParams(AdaptiveParams):
    """Parameters of `Scissor`: ``threshold``, the cosine above which tokens are joined, of the adaptive form."""

    threshold: float = Field(0.9, ge=-1, le=1)


class Scissor(Mechanism):
    """Join like tokens of each frame into components, then the components' means; every token joins its nearest mean.

    Components are those of the graph of all pairs whose cosine passes a threshold, found exactly (the code samples
    nodes). As in the code, the mean of a video's component is the plain mean of its frames' components, and a survivor
    is the average of that mean and of all tokens nearest to it, which counts as one of them. Where more are left than
    the budget allows, the second step joins on.

    The rate-controlled form joins, in both steps, the most alike first, until a count is met: in all frames together
    the geometric mean of what there was and the budget, so that both steps keep the same share, then the budget. A
    survivor's place is that of its component's first token; the code has no places.
    """

    name = "scissor"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("projector", "decoder")
    criterion = "connected components"
    source = "LLaVA-Scissor, arXiv 2506.21862; `approximate_components` of the official code"
    Params = ScissorParams
    params: ScissorParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, scaled = tokens.valid, tokens.unit_features()
        batch, n = valid.shape
        frame = present_frames(tokens)

        members = group_rows(frame, valid, int(frame.max()) + 1)
        weight, low, high = spanning_tree(scaled.flatten(0, 1)[members.clamp_min(0)], members >= 0)
        low, high = ((members.gather(1, end).clamp_min(0) % n).view(batch, -1) for end in (low, high))
        place = torch.arange(n, device=valid.device).expand(batch, n)
        joins = tokens.count - self._middle(tokens.count, frame.amax(1) + 1, budget)
        space = self._join(
            place, weight.view(batch, -1), low, high, torch.zeros_like(joins) if self.adaptive else joins
        )

        heads = Reduction.select((space == place) & valid)
        present = heads.keep >= 0
        means = heads.apply(group_mean(tokens.features, space, tokens.mass, n))
        column = torch.arange(present.shape[1], device=valid.device).expand(present.shape)
        time = self._join(column, *spanning_tree(unit(means, present), present), heads.count - budget)
        return self._gather(tokens, heads, means, space, time)

    @staticmethod
    def _middle(count: Tensor, frames: Tensor, budget: Tensor) -> Tensor:
        """Components after the first step, (B,) long."""
        even = ((count * budget).double().sqrt() + 0.5).long()
        return even.maximum(frames).maximum(budget).minimum(count)

    def _join(self, label: Tensor, weight: Tensor, low: Tensor, high: Tensor, count: Tensor) -> Tensor:
        """Components (B, P) long after joining the ``count`` highest edges; if adaptive, all above the threshold."""
        real = weight > -torch.inf
        if self.adaptive:
            count = count.maximum((real & (weight > self.params.threshold)).sum(1))
        return join_pairs(label, low, high, top_mask(weight, count, real))

    @staticmethod
    def _gather(tokens: Tokens, heads: Reduction, means: Tensor, space: Tensor, time: Tensor) -> Reduction:
        """Survivors from the components (B, N) of the first step and, on their heads, those (B, S) of the second."""
        valid, mass = tokens.valid, tokens.mass.float()
        present = heads.keep >= 0
        final = Reduction.select((time == torch.arange(time.shape[1], device=time.device)) & present)
        row, at = present.nonzero(as_tuple=True)
        first = heads.keep[row, time[row, at]]
        root = torch.zeros_like(space)
        root[row, heads.keep[row, at]] = first
        root = root.gather(1, space)
        survivors = heads.keep.gather(1, final.keep.clamp_min(0)).masked_fill(final.keep < 0, -1)

        centres = unit(final.apply(group_mean(means, time, present.float(), time.shape[1])), final.keep >= 0)
        cosine = torch.bmm(tokens.unit_features(), centres.mT).masked_fill((final.keep < 0)[:, None], -torch.inf)
        chosen = survivors.gather(1, cosine.argmax(2))
        chosen = torch.where((final.count == tokens.count)[:, None], root, chosen)

        size = torch.zeros_like(mass).scatter_add_(1, space, mass)
        parts = torch.zeros_like(mass)
        parts.index_put_((row, first), mass.new_ones(len(row)), accumulate=True)
        joined = torch.zeros_like(mass).scatter_add_(1, chosen.masked_fill(~valid, 0), mass.masked_fill(~valid, 0.0))
        share = mass / size.gather(1, space) / parts.gather(1, root)
        share = torch.where(chosen == root, share + mass, share) / (1.0 + joined.gather(1, root))
        moved = mass / (1.0 + joined.gather(1, chosen.clamp_min(0)))

        kept = torch.zeros_like(valid)
        kept[row, first] = True
        r, t = valid.nonzero(as_tuple=True)
        s, u = (valid & (chosen != root)).nonzero(as_tuple=True)
        return weighted(kept, (r, t, root[r, t], share[r, t]), (s, u, chosen[s, u], moved[s, u]))

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        middle = min(work.n, max(int(math.sqrt(work.n * work.m) + 0.5), work.frames, work.m))
        middle = work.n if self.adaptive else middle
        return 2 * work.d * (work.frames * area**2 + middle**2 + work.n * work.m)
