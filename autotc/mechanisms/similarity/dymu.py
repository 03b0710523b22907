"""DyMU: ToMe whose thresholds, found on data, let the content set the count (2504.17040; official `tome.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.matching import merge_rounds
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.similarity.tome import ToMe
from autotc.mechanisms.tokens import Tokens


class DyMUParams(AdaptiveParams):
    """Parameters of `DyMU`; ``threshold``: cosine above which an even token merges, read where ``adaptive``.

    It is that of one block: over a set of images, the cosine of the least alike pair that merges where the pairs of a
    batch compete for as many merges as r of each image would be. 1, the official code's start, merges nothing.
    """

    threshold: float = Field(1.0, ge=-1, le=1)


class DyMU(Mechanism):
    """Even tokens flow into their most similar odd token where their cosine passes a threshold, averaged by mass.

    With a given count this is ToMe; the published form is ``adaptive``: every pair above the threshold merges, so that
    simple images keep fewer tokens than complex ones, and further pairs, in rounds, while more is left than the budget.
    Merging happens after the block and leaves attention unweighted, where the code merges between attention and MLP and
    adds the log of each token's size to the attention scores. The published virtual unmerging, which gives the language
    model's attention back the positions that merged tokens held, is left out: survivors keep their own positions.
    """

    name = "dymu"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("encoder",)
    needs = ("keys",)
    criterion = "similarity merge"
    source = "DyMU, arXiv 2504.17040, section 3.1; `bipartite_soft_matching` of the official `tome.py`"
    Params = DyMUParams
    params: DyMUParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        keys = scores["keys"].float().masked_fill(~valid[..., None], 0.0) * tokens.mass.float()[..., None]
        threshold = self.params.threshold if self.params.adaptive else None
        root = merge_rounds(keys, valid, budget, threshold=threshold)
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        if self.params.adaptive and work.n == work.m:
            return 2 * ((work.n + 1) // 2) * (work.n // 2) * work.k
        return ToMe().flops(work)
