"""HoloV: crops of the item get quotas by attention and by how varied they are (2510.02912; official `HoloV`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups, group_rows
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class HoloVParams(Params):
    """Parameters of `HoloV`.

    ``crops``: runs of tokens in raster order that the item is cut into; None takes 16 at the published ratio of 64 of
    576 and in proportion fewer where more is kept, as the official code for Qwen does (that for LLaVA sets 16).
    ``variance_weight``: of the variance of similarity, scaled to the mean attention of the crop; published: 0.09.
    """

    crops: int | None = Field(None, ge=1)
    variance_weight: float = Field(0.09, ge=0)


class HoloV(Mechanism):
    """Runs of tokens share the budget by their mean score; within a run the class token's attention decides.

    A token's score is its attention plus the weighted variance of its cosine to the others of its run, scaled to the
    run's mean attention. As in the official code, the diagonal counts as a similarity of 0 in the variance, and scores
    set quotas alone: tokens are chosen by attention. Since the variance is scaled to each run's attention, quotas
    differ from shares of attention just where a run hardly varies. Unlike the code, quotas meet the budget by largest
    remainders, full runs pass theirs on (the code pads with zeros), and a run of one token is scored on the same scale
    as others.
    """

    name = "holov"
    family = "attention"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "received_attention by crop"
    source = "HoloV, arXiv 2510.02912; `HoloV` of the official code"
    Params = HoloVParams
    params: HoloVParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, parts = tokens.valid, self._parts(tokens.count, budget)
        crops = int(parts.max())
        attention = scores["cls_attention"].float().masked_fill(~valid, 0.0)
        run = self._runs(valid, parts)
        size = count_groups(run, valid, crops)
        mean = torch.zeros(size.shape, device=valid.device).scatter_add_(1, run, attention) / size.clamp_min(1)

        rows = group_rows(run, valid, crops)
        present = (rows >= 0)[..., None]
        features = tokens.unit_features().flatten(0, 1)[rows.clamp_min(0)].masked_fill(~present, 0.0)
        cosine = torch.bmm(features, features.mT)
        cosine.diagonal(dim1=1, dim2=2).zero_()
        others = (size.flatten() - 1).clamp_min(1)[:, None]
        offset = (cosine - cosine.sum(2, keepdim=True) / others[..., None]).masked_fill(~present.mT, 0.0)
        spread = (offset.square().sum(2) / others).masked_fill(~present[..., 0], 0.0)
        varied = spread.sum(1).view(size.shape) / size.clamp_min(1)
        # The mean of the scaled variances: mean attention, but for crops that hardly vary.
        score = mean + self.params.variance_weight * mean * varied / (varied + 1e-6)
        count = allocate(budget, score, size)
        return Reduction.select(top_per_group(attention, run, count, valid))

    def _parts(self, count: Tensor, budget: Tensor) -> Tensor:
        """Runs of each row, (B,) long."""
        if self.params.crops is not None:
            return torch.full_like(count, self.params.crops)
        return (1024 * count // (576 * budget)).clamp_min(1)

    @staticmethod
    def _runs(valid: Tensor, parts: Tensor) -> Tensor:
        """Run of each token, (B, N) long: near-equal in length, the first ones longer by one where need be."""
        n, rank = valid.sum(1, keepdim=True), (valid.cumsum(1) - 1).clamp_min(0)
        short, longer = n // parts[:, None], n % parts[:, None]
        split = longer * (short + 1)
        late = longer + (rank - split) // short.clamp_min(1)
        return torch.where(rank < split, rank // (short + 1), late).masked_fill(~valid, 0)

    def flops(self, work: Work) -> int:
        crops = self.params.crops or max(1, 1024 * work.n // (576 * work.m))
        longest = -(-work.n // crops)
        return 2 * crops * longest**2 * work.d
