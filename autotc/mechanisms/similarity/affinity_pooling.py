"""Affinity Pooling: a token joins the run whose last tokens it is like (2604.06871)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.grouping import linked_runs, neighbour_cosine
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class AffinityPoolingParams(AdaptiveParams):
    """Parameters of `AffinityPooling`.

    ``lookback``: last tokens of the run that a token is compared with; published: 1 at the input, 3 in a deep layer.
    ``threshold``: cosine above which it joins in the adaptive form; published: 0.8 and 0.7, or 0.9 and 0.8.
    """

    lookback: int = Field(1, ge=1)
    threshold: float = Field(0.8, ge=-1, le=1)


class AffinityPooling(Mechanism):
    """From left to right, a token joins the run before it if the most similar of its last tokens passes a threshold.

    Runs become their average by mass, at the place of their first token. A run never reaches back before its first
    token. Raising the threshold only cuts runs, so every token has one threshold up to which it joins; the given count
    takes the joins of highest threshold, which is the published rule at the threshold that leaves it. The adaptive form
    joins all above the given threshold, and more while more is left than the budget. That the largest cosine of the
    lookback decides, and that it ends with the run, is not confirmed; no official code was found.
    """

    name = "affinity_pooling"
    family = "similarity"
    modalities = ("audio",)
    locations = ("projector", "decoder")
    criterion = "similarity merge"
    source = "Affinity Pooling, arXiv 2604.06871"
    Params = AffinityPoolingParams
    params: AffinityPoolingParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        back = [neighbour_cosine(tokens.features, valid, step + 1) for step in range(params.lookback)]
        link = _join_thresholds(back)
        head = linked_runs(link, budget, valid, params.threshold if self.adaptive else None)
        place = torch.arange(head.shape[1], device=head.device)
        return Reduction.merge(head == place, head, tokens.mass)

    def flops(self, work: Work) -> int:
        return sum(2 * max(work.n - step, 0) * work.d for step in range(1, self.params.lookback + 1))


def _join_thresholds(back: list[Tensor]) -> Tensor:
    """The threshold (B, N) up to which each token joins the run before it, from cosines to 1, 2, ... tokens before.

    It joins by the token j before while those between have joined: at the largest of min(cosine to j before, thresholds
    of the tokens between). Rounds from below settle in as many steps as the longest chain of such joins.
    """
    link = back[0]
    while True:
        best, between = back[0], link
        for step, cosine in enumerate(back[1:], start=1):
            before = torch.full_like(link, -torch.inf)
            before[:, step:] = link[:, : max(link.shape[1] - step, 0)]
            between = before if step == 1 else torch.minimum(between, before)
            best = torch.maximum(best, torch.minimum(cosine, between))
        if torch.equal(best, link):
            return link
        link = best
