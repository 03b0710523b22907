"""IVC-Prune: tokens that the rotation makes coordinates, and the foreground by values (2602.03060; official code)."""

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


class IvcPruneParams(Params):
    """Parameters of `IvcPrune`, with the values of the official code for Qwen2.5-VL.

    Attributes:
        coordinates: share of the budget that goes to the largest mean cosines, and again to the largest mean sines.
        seeds: share of the item's tokens that are seeds; one at least.
    """

    coordinates: float = Field(0.2, ge=0, le=0.5)
    seeds: float = Field(0.01, ge=0, le=1)


class IvcPrune(Mechanism):
    """Keep the tokens whose rotation is nearest to none and to a quarter turn, the seeds, and the most alike in value.

    A token's likeness to another is a softmax over the item of the products of their values, head by head, then the
    mean over heads. The tokens most like the query are the seeds; all are ranked by their likeness to query and seeds
    together. The rotation is near none where the mean of its cosines is large, near a quarter turn where that of its
    sines is. The values are those of the layer before.

    The code keeps half of the tokens, a tenth by cosine and a tenth by sine; here these are shares of the budget. Where
    coordinates and seeds alone are more than the budget, the code keeps them all, and here their likeness decides. Its
    text is all that follows the image, here the query span. It averages the cosines of all axes of a rotation over all
    channels; here each channel counts with the axis that rotates it. Its form for LLaVA has other shares, and a softmax
    over the whole sequence. It removes the tokens from the cache of the layers before as well.
    """

    name = "ivc_prune"
    family = "query"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("values", "text_values", "rotation")
    criterion = "rotation, and likeness in value to the query"
    source = "IVC-Prune, arXiv 2602.03060; `IVCP_forward_flashattention` of the official code for Qwen2.5-VL"
    Params = IvcPruneParams
    params: IvcPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, params = tokens.valid, self.params
        values = scores["values"].float().masked_fill(~valid[..., None, None], 0.0)
        text, rotation = scores["text_values"].float(), scores["rotation"].float()
        of_text = likeness(text, text.abs().sum((2, 3)) > 0, values, valid)
        number = (params.seeds * tokens.count.double()).round().long().clamp_min(1).minimum(budget)
        seeds = top_mask(of_text, number, valid)
        chosen = Reduction.select(seeds)
        score = of_text + likeness(chosen.apply(values), chosen.keep >= 0, values, valid)

        share = (params.coordinates * budget.double()).round().long()
        first = seeds | top_mask(rotation[..., 0], share, valid) | top_mask(rotation[..., 1], share, valid)
        kept = top_mask(score, budget.minimum(first.sum(1)), first)
        return Reduction.select(kept | top_mask(score, budget - kept.sum(1), valid & ~first))

    def flops(self, work: Work) -> int:
        seeds = min(work.m, max(1, round(self.params.seeds * work.n)))
        return 2 * work.n * (work.query + seeds) * work.k


def likeness(queries: Tensor, real: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """Sum over queries of the softmax over the item of products of values, mean over heads, (B, N) float64.

    Args:
        queries: (B, R, G, D) float.
        real: (B, R) bool, queries that count.
        values: (B, N, G, D) float.
        valid: (B, N) bool.
    """
    product = torch.matmul(queries.transpose(1, 2), values.permute(0, 2, 3, 1)) / values.shape[3] ** 0.5
    share = product.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1).double().mean(1)
    total: Tensor = share.masked_fill(~real[..., None], 0.0).sum(1)
    return total
