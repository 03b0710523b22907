"""SparseVLM: tokens that the relevant words attend to (2410.04417; official `modelling_sparse_llama.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import cluster_groups
from autotc.mechanisms.contract import AdaptiveParams, DensityParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class SparseVLMParams(AdaptiveParams, DensityParams):
    """Parameters of `SparseVLM`.

    Attributes:
        recycle: share of the dropped tokens, the best ones, that is merged; 0 drops all, as SparseVLM+ does.
        tokens_per_cluster: how many of these make one more cluster.
        scale: in the adaptive form, tokens kept per rank of the attention of the raters.
        noise_seed: of the published noise on the density; None for none.
    """

    recycle: float = Field(0.3, ge=0, le=1)
    tokens_per_cluster: int = Field(10, ge=1)
    scale: float = Field(13.5, gt=0)


class SparseVLM(Mechanism):
    """Top of the raters' mean attention; the best of what is dropped is clustered into a few tokens.

    Raters are the query's tokens whose share of the tokens' softmaxed products with the text is above the mean. As in
    the official code, clusters grow from density peaks among the recycled tokens, with as many neighbours as clusters,
    and in the adaptive form the count is a multiple of the rank (an early release; later ones fix it for images; the
    factor 13.5 is not confirmed), where the paper deletes a share of count minus rank. Unlike there, clusters count
    towards the budget and stand at their centres, where the code appends them; they are averaged by mass; raters are
    chosen from the query as it stands at each stage, where the code takes all embeddings after the image. The code's
    noise on the density, which decides alone where tokens are far apart or make one cluster (`density_peaks`), comes
    with ``noise_seed``; without it ties go to the earlier token.
    """

    name = "sparsevlm"
    family = "query"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("text_attention", "text_features")
    criterion = "text_attention"
    source = "SparseVLM, arXiv 2410.04417; `attn_postprocess_topk`, `attn_postprocess_rank`, `cluster_and_merge`"
    Params = SparseVLMParams
    params: SparseVLMParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, count = tokens.valid, tokens.count
        x = tokens.features.float().masked_fill(~valid[..., None], 0.0)
        raters = self._raters(x, scores["text_features"].float(), valid)
        attention = scores["text_attention"].float().masked_fill(~(valid[..., None] & raters[:, None]), 0.0)
        score = attention.sum(2) / raters.sum(1, keepdim=True)

        # Of all splits into kept tokens and clusters, the one that the published shares lead to.
        kept = torch.arange(valid.shape[1] + 1, device=valid.device).expand(len(budget), -1)
        dropped = count[:, None] - kept
        fits = (dropped >= 0) & (kept + self._clusters(dropped) <= budget[:, None])
        select = torch.where(fits, kept, 1).amax(1)
        clusters = budget - select
        if self.params.adaptive:
            rank = self._rank(attention, raters, count)
            wanted = (rank * self.params.scale).long().minimum(count - 1).clamp_min(1)
            select = torch.where(rank < count, wanted.minimum(select), select)
            clusters = self._clusters(count - select).minimum(budget - select)
        chosen = top_mask(score, select, valid)
        if not bool((clusters > 0).any()):
            return Reduction.select(chosen)

        recycled = self._recycled(count - select).masked_fill(clusters == 0, 0)
        pool = top_mask(score, recycled, valid & ~chosen)
        one = torch.zeros_like(valid, dtype=torch.long)
        centres, into = cluster_groups(
            x, one, clusters[:, None], pool, clusters[:, None], noise_seed=self.params.noise_seed
        )
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        return Reduction.merge(chosen | centres, torch.where(chosen, place, into), tokens.mass)

    def _recycled(self, dropped: Tensor) -> Tensor:
        """How many of the dropped tokens are merged."""
        some = (dropped > 0) & (self.params.recycle > 0)
        return ((dropped.double() * self.params.recycle).long() + 1).minimum(dropped).masked_fill(~some, 0)

    def _clusters(self, dropped: Tensor) -> Tensor:
        """How many tokens they become."""
        recycled = self._recycled(dropped)
        return (recycled // self.params.tokens_per_cluster + 1).masked_fill(recycled == 0, 0).minimum(recycled)

    @staticmethod
    def _raters(x: Tensor, text: Tensor, valid: Tensor) -> Tensor:
        """The words that tokens resemble more than the mean; all where none stands out. (B, T) bool."""
        words = (text != 0).any(2)
        words = words | ~words.any(1, keepdim=True)
        share = torch.bmm(x, text.mT).masked_fill(~words[:, None], -torch.inf).softmax(2)
        share = (share * valid[..., None]).sum(1).double()
        mean = share.sum(1, keepdim=True) / words.sum(1, keepdim=True)
        raters = words & (share > mean * (1 + 1e-6))
        return torch.where(raters.any(1, keepdim=True), raters, words)

    @staticmethod
    def _rank(attention: Tensor, raters: Tensor, count: Tensor) -> Tensor:
        """Rank of each row's attention; the tolerance is that of its own size, whatever the padding."""
        longest = torch.maximum(count, raters.sum(1))
        tolerance = longest.to(attention.dtype) * torch.finfo(attention.dtype).eps
        rank: Tensor = torch.linalg.matrix_rank(attention, rtol=tolerance)
        return rank

    def flops(self, work: Work) -> int:
        n, share = work.n, self.params.recycle
        clusters = int(n * share + 1) // self.params.tokens_per_cluster + 1
        dropped = n - 1 if self.params.adaptive else min(n - 1, n - work.m + clusters)
        merging = share > 0 and (self.params.adaptive or 1 < work.m < n)
        recycled = min(int(dropped * share) + 1, dropped) if merging else 0
        return 2 * n * work.query * work.d + 2 * recycled**2 * work.d
