"""PruMerge: outliers of the class token's attention take in the tokens of like keys (2403.15388; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask, unit
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class PruMergeParams(AdaptiveParams):
    """Parameters of `PruMerge`.

    ``spatial_share``: of the survivors, evenly spaced ones; 0 is PruMerge, 0.75 PruMerge+, which samples at a third of
    the mean distance between outliers.
    ``neighbours``: tokens that each survivor takes in; published: 32.
    ``fence``: with ``adaptive``, outliers lie this many interquartile ranges above the third quartile; published: 1.5.
    """

    spatial_share: float = Field(0.0, ge=0, lt=1)
    neighbours: int = Field(32, ge=0)
    fence: float = Field(1.5, ge=0)


class PruMerge(Mechanism):
    """Top of the class token's attention, each plus the attention-weighted sum of its nearest tokens by key.

    As in the official code (`token_prune_merge_advanced`), the sum is not normalised, takes survivors in as well, and
    the same token may flow into several; and one more survivor, which the paper lacks, is the weighted sum of all that
    were not chosen (from a budget of 2 on; it stands where the best of them stood). Attention is the mean over heads of
    the next-to-last block, scaled to sum to 1 over the item, where the code computes it as one head, in the last; keys
    are of that block too. Survivors stay in the order of their positions, where the code sorts them by attention. The
    evenly spaced tokens of PruMerge+ are taken from those not chosen by attention; with ``adaptive``, as in the code,
    every k-th token of all but the last, without repetitions, where k is a third of the tokens per outlier, both cut to
    whole numbers. Nothing is merged where every token stays.
    """

    name = "prumerge"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention", "keys")
    criterion = "received_attention"
    source = "LLaVA-PruMerge, arXiv 2403.15388; `token_prune_merge_advanced(_plus)` of the official code"
    Params = PruMergeParams
    params: PruMergeParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        score = scores["cls_attention"].float().masked_fill(~valid, 0.0)
        published = self._published(score, valid) if self.params.adaptive else torch.zeros_like(valid)
        wanted = published.sum(1) + 1
        fits = (wanted > 1) & (wanted <= budget) & (wanted < tokens.count)
        budget = torch.where(fits, wanted, budget)
        extra = (budget > 1) & (budget < tokens.count)
        centres = budget - extra.long()
        spaced = (centres.double() * self.params.spatial_share + 0.5).long().clamp_max(centres - 1)
        chosen = top_mask(score, centres - spaced, valid)
        chosen = torch.where(fits[:, None], published, chosen | _evenly(valid & ~chosen, spaced))
        rest = valid & ~chosen
        survivors = chosen | top_mask(score, extra.long(), rest)
        column = survivors.cumsum(1) - 1

        stays, token = chosen.nonzero(as_tuple=True)
        takes_in, source, target = self._nearest(scores["keys"], chosen, valid, budget < tokens.count)
        pooled, left = (rest & extra[:, None]).nonzero(as_tuple=True)
        where = (survivors & ~chosen).int().argmax(1)
        return Reduction.linear(
            survivors,
            torch.cat([stays, takes_in, pooled]),
            torch.cat([token, source, left]),
            torch.cat([column[stays, token], column[takes_in, target], column[pooled, where[pooled]]]),
            torch.cat([torch.ones_like(stays, dtype=score.dtype), score[takes_in, source], score[pooled, left]]),
        )

    def _published(self, score: Tensor, valid: Tensor) -> Tensor:
        """What the published rule chooses, (B, N) bool: outliers by Tukey's fence and, of all tokens, every k-th."""
        known = score.double().masked_fill(~valid, torch.nan)
        low, high = (known.nanquantile(q, dim=1, keepdim=True) for q in (0.25, 0.75))
        outlier = valid & (score > high + self.params.fence * (high - low))
        outlier = outlier | top_mask(score, (valid.any(1) & ~outlier.any(1)).long(), valid)
        if not self.params.spatial_share:
            return outlier
        # Both steps are cut to whole numbers, and the last token is out of reach, as in the code.
        size, place = valid.sum(1, keepdim=True), valid.cumsum(1) - 1
        per_outlier = size // outlier.sum(1, keepdim=True).clamp_min(1)
        ratio = self.params.spatial_share / (1.0 - self.params.spatial_share)
        step = (per_outlier.double() / ratio).long().clamp_min(1)
        return outlier | (valid & (place % step == 0) & (place < size - 1))

    def _nearest(self, keys: Tensor, chosen: Tensor, valid: Tensor, merging: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row, token and the survivor that it flows into, of each survivor's nearest tokens in rows that merge."""
        centres = Reduction.select(chosen & merging[:, None])
        if not centres.keep.numel():
            none = torch.empty(0, dtype=torch.long, device=keys.device)
            return none, none, none
        scaled = unit(keys, valid)
        cosine = torch.bmm(centres.apply(scaled), scaled.mT)
        place = torch.arange(valid.shape[1], device=keys.device)
        others = valid[:, None, :] & (centres.keep[:, :, None] != place) & (centres.keep >= 0)[:, :, None]
        flat = others.flatten(0, 1)
        near = top_mask(cosine.flatten(0, 1), flat.sum(1).clamp_max(self.params.neighbours), flat)
        row, slot, token = near.view(others.shape).nonzero(as_tuple=True)
        return row, token, centres.keep[row, slot]

    def flops(self, work: Work) -> int:
        merges = work.m < work.n or self.params.adaptive
        return 2 * (work.m - (work.m > 1)) * work.n * work.k if merges else 0


def _evenly(among: Tensor, count: Tensor) -> Tensor:
    """Mask of ``count`` (B,) evenly spaced tokens of ``among`` (B, N) bool, the first one included."""
    size, rank = among.sum(1, keepdim=True), among.cumsum(1) - 1
    return among & ((rank * count[:, None]) % size.clamp_min(1) < count[:, None])
