"""SCOPE: coverage that a token adds, weighed by its saliency (2510.24214, equation 7; official `SCOPE`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.coverage import cosine_table, greedy_coverage
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class ScopeParams(Params):
    """Parameters of `Scope`; ``alpha``: power of the saliency, published 1."""

    alpha: float = Field(1.0, ge=0)


class Scope(Mechanism):
    """Add, one by one, the token with the largest product of the class token's attention and the coverage that it adds.

    Coverage is the sum over all tokens of the cosine to the nearest chosen one, where cosines below zero count as zero.
    Tokens that stand for several count as often. Features are those after the projector, where the code takes the
    tower's.
    """

    name = "scope"
    family = "similarity"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("cls_attention",)
    criterion = "coverage with cls_attention"
    source = "SCOPE, arXiv 2510.24214, equations 4 to 7; `SCOPE` of `clip_encoder.py` of the official code"
    Params = ScopeParams
    params: ScopeParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        salient = torch.nan_to_num(scores["cls_attention"].double()).clamp_min(0.0) ** self.params.alpha
        value = cosine_table(tokens.unit_features())
        return Reduction.select(greedy_coverage(value, tokens.mass.float(), salient, budget, tokens.valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n**2 * work.d
