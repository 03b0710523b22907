"""A-ToMe: merging of adjacent audio tokens (2306.16009)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.grouping import neighbour_runs
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class ATomeParams(AdaptiveParams):
    """Parameters of `ATome`: ``threshold``, cosine above which neighbours are joined in the adaptive form."""

    threshold: float = Field(0.85, ge=-1, le=1)


class ATome(Mechanism):
    """Neighbours whose keys are most alike by cosine become one token, averaged by mass.

    The paper merges above a fixed threshold or at a fixed ratio, in several layers. This is the rate-controlled form of
    the threshold rule: the threshold is the quantile that leaves the budget. All pairs of neighbours above it are
    joined at once, so a run of alike tokens becomes one, without a second round, where disjoint pairs may be meant (the
    default threshold, too, is not confirmed). The adaptive form joins every pair
    above the given threshold, and further pairs, the most alike first, while more is left than the budget.
    """

    name = "a_tome"
    family = "similarity"
    modalities = ("audio",)
    locations = ("encoder", "projector")
    needs = ("keys",)
    criterion = "similarity merge"
    source = "A-ToMe, arXiv 2306.16009"
    Params = ATomeParams
    params: ATomeParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        keys, threshold = scores.get("keys", tokens.features), self.params.threshold
        head = neighbour_runs(keys, budget, tokens.valid, threshold if self.params.adaptive else None)
        place = torch.arange(head.shape[1], device=head.device)
        return Reduction.merge(head == place, head, tokens.mass)

    def flops(self, work: Work) -> int:
        return 2 * (work.n - 1) * work.k
