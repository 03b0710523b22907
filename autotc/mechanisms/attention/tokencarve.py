"""TokenCarve: tokens of information and attention, the like merged (2503.10501; official `modeling_llama.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class TokenCarveParams(Params):
    """Parameters of `TokenCarve`, with the official code's values.

    Attributes:
        attention: weight of the rank by attention; the rank by information has the rest.
        candidates: tokens that are not pruned, as a multiple of the budget; what is above the budget is merged.
    """

    attention: float = Field(0.5, ge=0, le=1)
    candidates: float = Field(1.5, ge=1, le=2)


class TokenCarve(Mechanism):
    """Prune by the mean of two ranks, then merge the tokens of the lower half most like one of the upper half into it.

    One rank is by the last token's attention, the other by information: the sum of what the token has along each
    singular vector of the item's features. With the published values, one and a half times the budget is not pruned;
    of the lower half of these, the most similar by cosine merge until the budget is met. Tokens of equal mean rank
    count in order of position, where the code's order is that of its sort. Averages are by mass.
    """

    name = "tokencarve"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("last_query_attention",)
    criterion = "rank of attention and of information"
    source = "TokenCarve, arXiv 2503.10501; `LlamaModel.forward` of the official code"
    Params = TokenCarveParams
    params: TokenCarveParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, share = tokens.valid, self.params.attention
        everything = torch.zeros_like(budget)[:, None].expand_as(valid)
        of_attention = rank_in_group(scores["last_query_attention"], everything, valid).double()
        of_information = rank_in_group(information(tokens), everything, valid).double()
        # Whole numbers of a millionth: rounding must not choose between equal ranks.
        score = -(share * of_attention + (1.0 - share) * of_information).mul(1e6).round().float()

        candidates = (self.params.candidates * budget.double() + 1e-9).floor().long().minimum(tokens.count)
        unpruned, upper = top_mask(score, candidates, valid), top_mask(score, candidates // 2, valid)
        lower = unpruned & ~upper
        near, cosine = nearest(tokens.features, upper, valid)
        merged = top_mask(cosine, candidates - budget, lower)
        kept = unpruned & ~merged
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        target = torch.where(merged, near, torch.where(kept, place, -1))
        return Reduction.merge(kept, target, tokens.mass)

    def flops(self, work: Work) -> int:
        upper = min(work.n, int(self.params.candidates * work.m + 1e-9)) // 2
        return 2 * work.n * (work.n + upper) * work.d


def information(tokens: Tokens) -> Tensor:
    """Sum over the singular vectors of each token's absolute component, (B, N) float64, the largest of a row as 1.

    The singular value decomposition is that of the features, by way of the products of all pairs. The eigenvectors of
    these take about 9 N^3 operations, which are no matrix products and so are in no count of FLOPs.
    """
    clean = tokens.features.double().masked_fill(~tokens.valid[..., None], 0.0)
    product = torch.bmm(clean, clean.mT)
    square, vector = torch.linalg.eigh((product + product.mT) / 2)
    total = (vector.abs() * square.clamp_min(0.0).sqrt()[:, None]).sum(2)
    # Tokens that are equal have equal components, but for rounding.
    rounded: Tensor = (total / total.amax(1, keepdim=True).clamp_min(1e-30) * 1e9).round() / 1e9
    return rounded
