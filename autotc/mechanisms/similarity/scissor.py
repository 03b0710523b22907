"""LLaVA-Scissor: semantic connected components, twice (2506.21862; official `llava_arch_zip.py`)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.frames import present_frames
from autotc.mechanisms.grouping import group_mean, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens


class ScissorParams(AdaptiveParams):
    """Parameters of `Scissor`: ``threshold``, the cosine above which tokens are joined, of the adaptive form."""

    threshold: float = Field(0.9, ge=-1, le=1)


def _union(label: Tensor, low: Tensor, high: Tensor, on: Tensor) -> Tensor:
    """Components, by their first token (R, P) long, after joining those of the pairs (R, E) that are on."""
    while True:
        a, b = label.gather(1, low).masked_fill(~on, 0), label.gather(1, high).masked_fill(~on, 0)
        label = label.scatter_reduce(1, torch.maximum(a, b), torch.minimum(a, b), "amin")
        while not torch.equal(label, hop := label.gather(1, label)):
            label = hop
        if torch.equal(label.gather(1, low).masked_fill(~on, 0), label.gather(1, high).masked_fill(~on, 0)):
            return label


def _tree(scaled: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spanning tree of highest cosine (Boruvka) of tokens (R, P, D) of norm 1, as edges in the order of their tokens.

    Of equal cosines the earlier pair counts as higher. Joining the highest edges of the tree joins what the highest
    edges of the whole graph would.

    Returns:
        cosine, first and second token of each edge, each (R, E); entries of cosine -inf are no edges.
    """
    rows, n = valid.shape
    cosine = torch.bmm(scaled, scaled.mT)
    cosine = (cosine + cosine.mT) / 2  # rounding may differ across the diagonal
    place = torch.arange(n, device=valid.device).expand(rows, n)
    both = valid[:, :, None] & valid[:, None, :]
    label = place
    weights, pairs = [cosine.new_empty(rows, 0)], [place[:, :0]]
    while True:
        outward = both & (label[:, :, None] != label[:, None, :])
        if not bool(outward.any()):
            break
        best, other = cosine.masked_fill(~outward, -torch.inf).max(2)
        pair = torch.minimum(place, other) * n + torch.maximum(place, other)
        top = torch.full_like(best, -torch.inf).scatter_reduce_(1, label, best, "amax")
        pair = pair.masked_fill((best < top.gather(1, label)) | best.isinf(), n * n)
        edge = torch.full_like(pair, n * n).scatter_reduce_(1, label, pair, "amin")
        on = edge < n * n
        low, high = (edge // n).masked_fill(~on, 0), edge % n
        # Two components that chose the same edge add it once.
        twin = edge.gather(1, torch.where(label.gather(1, low) == place, label.gather(1, high), label.gather(1, low)))
        fresh = on & ((twin != edge) | (label.gather(1, low).minimum(label.gather(1, high)) == place))
        weights.append(top.masked_fill(~fresh, -torch.inf))
        pairs.append(edge.masked_fill(~fresh, 0))
        label = _union(label, low, high, on)
    weight, pair = torch.cat(weights, 1), torch.cat(pairs, 1)
    order = pair.argsort(dim=1, stable=True)
    weight, pair = weight.gather(1, order), pair.gather(1, order)
    return weight, pair // max(n, 1), pair % max(n, 1)


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
        weight, low, high = _tree(scaled.flatten(0, 1)[members.clamp_min(0)], members >= 0)
        low, high = ((members.gather(1, end).clamp_min(0) % n).view(batch, -1) for end in (low, high))
        place = torch.arange(n, device=valid.device).expand(batch, n)
        joins = tokens.count - self._middle(tokens.count, frame.amax(1) + 1, budget)
        space = self._join(
            place, weight.view(batch, -1), low, high, torch.zeros_like(joins) if self.adaptive else joins
        )

        heads = Reduction.select((space == place) & valid)
        there = heads.keep >= 0
        means = heads.apply(group_mean(tokens.features, space, tokens.mass, n))
        column = torch.arange(there.shape[1], device=valid.device).expand(there.shape)
        time = self._join(column, *_tree(unit(means, there), there), heads.count - budget)
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
        return _union(label, low, high, top_mask(weight, count, real))

    @staticmethod
    def _gather(tokens: Tokens, heads: Reduction, means: Tensor, space: Tensor, time: Tensor) -> Reduction:
        """Survivors from the components (B, N) of the first step and, on their heads, those (B, S) of the second."""
        valid, mass = tokens.valid, tokens.mass.float()
        there = heads.keep >= 0
        final = Reduction.select((time == torch.arange(time.shape[1], device=time.device)) & there)
        row, at = there.nonzero(as_tuple=True)
        first = heads.keep[row, time[row, at]]
        root = torch.zeros_like(space)
        root[row, heads.keep[row, at]] = first
        root = root.gather(1, space)
        survivors = heads.keep.gather(1, final.keep.clamp_min(0)).masked_fill(final.keep < 0, -1)

        centres = unit(final.apply(group_mean(means, time, there.float(), time.shape[1])), final.keep >= 0)
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
        column = kept.cumsum(1) - 1
        r, t = valid.nonzero(as_tuple=True)
        s, u = (valid & (chosen != root)).nonzero(as_tuple=True)
        return Reduction.linear(
            kept,
            torch.cat([r, s]),
            torch.cat([t, u]),
            torch.cat([column[r, root[r, t]], column[s, chosen[s, u]]]),
            torch.cat([share[r, t], moved[s, u]]),
        )

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        middle = min(work.n, max(int(math.sqrt(work.n * work.m) + 0.5), work.frames, work.m))
        middle = work.n if self.adaptive else middle
        return 2 * work.d * (work.frames * area**2 + middle**2 + work.n * work.m)
