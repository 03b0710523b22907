"""VisionZip: dominant tokens by attention, contextual tokens for the rest (2412.04467, section 2.3; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class VisionZipParams(Params):
    """Parameters of `VisionZip`: ``dominant_share``, of the survivors; the default is the published 54 of 64.

    The published 54 count the class token, which is not among the tokens here.
    """

    dominant_share: float = Field(54 / 64, gt=0, le=1)


class VisionZip(Mechanism):
    """Top of the class token's attention as it is; of the rest, evenly spaced targets gather the others by key cosine.

    As in the official code (`clip_encoder.py`), a contextual token is its target plus the mean of those assigned to it,
    where the paper averages all. Scores come from the tower's next-to-last block; towers without a class token give the
    mean attention received from all tokens of the segment, as the paper has it, hence the criterion. Unlike the code,
    the step acts after the projector, where the code acts before it; survivors stay in raster order, where the code
    appends the contextual tokens; the class token itself is not among them; and both counts follow from the budget.
    """

    name = "visionzip"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention", "keys")
    criterion = "received_attention"
    source = "VisionZip, arXiv 2412.04467, section 2.3; contextual tokens as in the official `clip_encoder.py`"
    Params = VisionZipParams
    params: VisionZipParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        share = self.params.dominant_share
        dominant_count = torch.minimum((budget.double() * share + 0.5).long().clamp_min(1), budget)
        dominant = top_mask(scores["cls_attention"], dominant_count, valid)
        rest = valid & ~dominant
        wanted = (budget - dominant_count)[:, None]
        step = (rest.sum(1, keepdim=True) // wanted.clamp_min(1)).clamp_min(1)
        rank = rest.cumsum(1) - 1
        contextual = rest & (rank % step == 0) & (rank // step < wanted)
        others = rest & ~contextual & (wanted > 0)
        survivors = dominant | contextual
        if not bool(others.any()):
            return Reduction.select(survivors)

        keys = scores["keys"].float().masked_fill(~valid[..., None], 0.0)
        unit = keys / keys.norm(dim=-1, keepdim=True).clamp_min(1e-6)
        targets, movers = Reduction.select(contextual), Reduction.select(others)
        similarity = torch.bmm(movers.apply(unit), targets.apply(unit).mT)
        similarity = similarity.masked_fill((targets.keep < 0)[:, None], -torch.inf)
        into = targets.keep.gather(1, similarity.argmax(-1))

        column = survivors.cumsum(1) - 1
        moves, at = (movers.keep >= 0).nonzero(as_tuple=True)
        target = into[moves, at]
        assigned = torch.zeros(valid.shape, device=valid.device)
        assigned.index_put_((moves, target), assigned.new_ones(len(moves)), accumulate=True)
        stays, token = survivors.nonzero(as_tuple=True)
        return Reduction.linear(
            survivors,
            torch.cat([stays, moves]),
            torch.cat([token, movers.keep[moves, at]]),
            torch.cat([column[stays, token], column[moves, target]]),
            torch.cat([assigned.new_ones(len(stays)), 1.0 / assigned[moves, target]]),
        )

    def flops(self, work: Work) -> int:
        dominant = min(max(1, int(work.m * self.params.dominant_share + 0.5)), work.m)
        return 2 * (work.n - work.m) * (work.m - dominant) * work.k
