"""OTT-Vid: tokens that cover each frame, merged over time by optimal transport (2605.11803; official `ottvid`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.coverage import cosine_table, covered_alone, greedy_coverage
from autotc.mechanisms.frames import change, frame_tokens
from autotc.mechanisms.grouping import count_groups, group_mean, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.transport import lightest, sinkhorn
from autotc.mechanisms.trees import first_ancestors


class OttVidParams(Params):
    """Parameters of `OttVid`; the defaults are those of the official scripts.

    ``time_share``: of the compression that is left to merging over time: frames keep ratio ** (1 - time_share).
    ``mass_temperature``: of the softmax by which tokens that cover little are moved first. ``budget_temperature``: of
    the softmax that gives pairs of alike frames more merges. ``largest_cost``: tokens that would merge at a higher cost
    are dropped. ``entropy``, ``rounds``: of the Sinkhorn iteration.
    """

    time_share: float = Field(0.3, ge=0, le=1)
    mass_temperature: float = Field(0.3, gt=0)
    budget_temperature: float = Field(0.3, gt=0)
    largest_cost: float = Field(0.3, ge=0)
    entropy: float = Field(0.01, gt=0)
    rounds: int = Field(200, ge=1)


class OttVid(Mechanism):
    """Each frame keeps tokens that cover it, by the attention received; then tokens merge into the frame before.

    Two tokens of adjacent frames cost a x (1 - cosine) + (1 - a) x their distance in the frame, where a grows from a
    half to 1 with the change between the frames. Sinkhorn's plan moves the mass of one frame's tokens to the other's;
    what a token alone covers makes it light. Pairs of frames that are cheap to move merge more; within a pair, the
    tokens with the largest entry of the plan merge into the token of that entry. Above a cost they are dropped, with
    all that has merged into them. A merged token stands at its first, and is the average by mass.

    Unlike the code, merges beyond what a share holds go to other pairs at once, where it rounds between; and where
    leaving one token in each later frame keeps more than the budget, frames may go whole, which the code does not do.
    """

    name = "ott_vid"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    needs = ("received_attention",)
    uses_grid = True
    criterion = "coverage, transport over time"
    source = "OTT-Vid, arXiv 2605.11803; `facility_location_video` and `ot_temporal_merge` of the official code"
    Params = OttVidParams
    params: OttVidParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, n = tokens.valid, tokens.valid.shape[1]
        frame = tokens.grid[..., 0].masked_fill(~valid, 0)
        size = count_groups(frame, valid, int(frame.max()) + 1)
        rows = group_rows(frame, valid, size.shape[1])
        wanted = allocate(self._spatial(tokens, size, budget), size.double(), size)
        kept, alone = self._cover(tokens, rows, scores["received_attention"], wanted.flatten())

        # The tokens kept of each pair of adjacent frames, (Q, K); -1 pads.
        cells = group_rows(frame, kept, size.shape[1]).view(*size.shape, -1)
        row, pair = (wanted[:, 1:] > 0).nonzero(as_tuple=True)
        before, after = cells[row, pair], cells[row, pair + 1]
        cost = self._cost(tokens, frame, before, after, row, pair)
        source, sink = (
            lightest(alone.flatten()[part.clamp_min(0)], part >= 0, self.params.mass_temperature)
            for part in (before, after)
        )
        plan = sinkhorn(cost, source, sink, self.params.entropy, self.params.rounds)
        apart = torch.zeros(size.shape, device=size.device)
        apart[row, pair + 1] = (plan * cost).sum((1, 2))
        merges = self._merges(apart, wanted, wanted.sum(1) - budget)

        strength, best = plan.max(1)
        price = cost.gather(1, best[:, None])[:, 0]
        index, column = (after >= 0).nonzero(as_tuple=True)
        child = after[index, column]
        score, dear = torch.zeros(valid.numel(), device=valid.device), torch.zeros_like(valid).flatten()
        parent = torch.arange(n, device=valid.device).repeat(len(valid))
        score[child], dear[child] = strength[index, column], price[index, column] > self.params.largest_cost
        joins = top_per_group(score.view_as(frame), frame, merges, kept & (frame > 0))
        parent[child] = before[index, best[index, column]] % n
        place = torch.arange(n, device=valid.device)
        lost = joins & dear.view_as(joins)
        root = first_ancestors(torch.where(joins & ~lost, parent.view_as(frame), place), size.shape[1])
        target = root.masked_fill(~kept | lost.gather(1, root), -1)
        return Reduction.merge(kept & ~joins, target, tokens.mass)

    def _spatial(self, tokens: Tokens, size: Tensor, budget: Tensor) -> Tensor:
        """Tokens kept before merging, (B,) long: a whole number for each frame, at most the budget in the first."""
        frames = (size > 0).sum(1)
        share = (budget.double() / tokens.count) ** (1.0 - self.params.time_share)
        each = (frame_tokens(tokens)[:, 0] * share + 1e-9).long().clamp_min(1)
        return (frames * each).maximum(budget).minimum(frames * budget).minimum(tokens.count)

    @staticmethod
    def _cover(tokens: Tokens, rows: Tensor, attention: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that cover their frame, (B, N) bool, and what each covers better than all others, (B, N)."""
        present = rows >= 0
        unit = tokens.unit_features().flatten(0, 1)[rows.clamp_min(0)].masked_fill(~present[..., None], 0.0)
        weight = torch.nan_to_num(attention.float()).clamp_min(0.0).flatten()[rows.clamp_min(0)] * present
        weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-12)
        cosine = cosine_table(unit, least=-1.0)
        chosen = greedy_coverage(cosine.clamp_min(0.0), weight, None, wanted, present)
        ahead = covered_alone(cosine, weight, chosen)
        kept = torch.zeros(attention.numel(), dtype=torch.bool, device=rows.device)
        alone = torch.zeros(attention.numel(), device=rows.device)
        kept[rows[present]], alone[rows[present]] = chosen[present], ahead[present]
        return kept.view(attention.shape), alone.view(attention.shape)

    @staticmethod
    def _cost(tokens: Tokens, frame: Tensor, before: Tensor, after: Tensor, row: Tensor, pair: Tensor) -> Tensor:
        """Cost of moving each token of the frame before onto each of the frame after, (Q, K, K)."""
        unit = tokens.unit_features().flatten(0, 1)
        moved = change(tokens, torch.ones_like(frame)).masked_fill(~tokens.valid, 0.0)
        mean = group_mean(moved[..., None], frame, tokens.valid.float(), int(frame.max()) + 1)[..., 0]
        alpha = 0.5 + 0.5 * mean[row, pair + 1].clamp(0.0, 1.0)[:, None, None]
        place = tokens.grid[..., 1:].masked_fill(~tokens.valid[..., None], 0).float()
        place = (place / place.amax(1, keepdim=True).clamp_min(1.0)).flatten(0, 1)
        first, second = before.clamp_min(0), after.clamp_min(0)
        apart = 1.0 - torch.bmm(unit[first], unit[second].mT).clamp_min(0.0)
        far = (place[first][:, :, None] - place[second][:, None]).norm(dim=-1) / 2**0.5
        cost: Tensor = alpha * apart + (1.0 - alpha) * far
        return cost

    def _merges(self, apart: Tensor, wanted: Tensor, total: Tensor) -> Tensor:
        """Merges of each frame into the one before, (B, T) long, by how little the two are ``apart``."""
        later = (wanted > 0) & (torch.arange(wanted.shape[1], device=wanted.device) > 0)
        weight = (-apart / self.params.budget_temperature).masked_fill(~later, -1e9).softmax(1)
        room = (wanted - 1) * later
        merges = allocate(total.minimum(room.sum(1)), weight, room)
        return merges + allocate(total - merges.sum(1), weight, (wanted - merges) * later)

    def flops(self, work: Work) -> int:
        area = -(-work.n // work.frames)
        each = max(1, int(area * (work.m / work.n) ** (1.0 - self.params.time_share) + 1e-9))
        kept = min(max(work.frames * each, work.m), work.frames * work.m, work.n)
        return 2 * work.d * (work.frames * area**2 + work.n + (work.frames - 1) * (-(-kept // work.frames)) ** 2)
