"""FiCoCo-V: redundant tokens leave, spread over the image, and flow into those they are like (2411.17686)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups, weighted
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask, unit
from autotc.mechanisms.tokens import Tokens

_PENALTY = 2.0
"""What the score of the most redundant token of a window is divided by; multiplied with, where it is negative."""


class FiCoCoParams(Params):
    """Parameters of `FiCoCo`, with the official code's values.

    Attributes:
        beta: weight of the class token's attention; the rest is that of redundancy.
        quantile: a token flows into the survivors whose likeness to it lies above this quantile, into one at least.
        window: side of the square windows, in each of which the most redundant token is the likelier to leave.
    """

    beta: float = Field(0.35, ge=0, le=1)
    quantile: float = Field(0.998, ge=0, le=1)
    window: int = Field(2, ge=1, le=64)


class FiCoCo(Mechanism):
    """Filter by class attention less redundancy, correlate with survivors, compress each into the few it is most like.

    Both parts of the score have norm 1 over the item. A token that leaves is divided among its survivors by the softmax
    of its likeness to them; a survivor becomes the average of itself, with weight 1, and of these parts. Redundancy is
    the mean cosine of a token's key to the item's keys, and likeness is that cosine, where the published form takes the
    mean over heads of the attention scores between patches before their softmax, which no score here gives. The
    official code (`Filter`, `Correlate`, `Compress`) looks for targets among all tokens and finds them by places that
    the removal has shifted; here, as in the paper, they are survivors. There the windows of later layers are those of a
    map that tokens have left; here they are those of the grid, where more than one token is left in them. FiCoCo-L,
    which acts in the decoder, is another rule.
    """

    name = "ficoco"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("encoder",)
    needs = ("cls_attention", "keys")
    criterion = "redundancy with cls_attention"
    source = "FiCoCo-V, arXiv 2411.17686; `FiCoCo_V.py` of the official code"
    Params = FiCoCoParams
    params: FiCoCoParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        keys = unit(scores["keys"], valid)
        kept = top_mask(self._score(tokens, keys, scores["cls_attention"]), budget, valid)
        movers, targets = Reduction.select(valid & ~kept), Reduction.select(kept)
        if not movers.keep.numel():
            return Reduction.select(kept)

        cosine = torch.bmm(movers.apply(keys), targets.apply(keys).mT)
        cosine = cosine.masked_fill((targets.keep < 0)[:, None], -torch.inf)
        most = ((1.0 - self.params.quantile) * (budget - 1).double() - 1e-9).ceil().long().clamp_min(1)
        near, at = cosine.sort(dim=2, descending=True, stable=True)
        near, at = near[..., : int(most.max())], at[..., : int(most.max())]
        used = torch.arange(near.shape[2], device=valid.device) < most[:, None, None]
        share = near.masked_fill(~used, -torch.inf).softmax(2)
        row, mover, rank = (used & (movers.keep >= 0)[..., None]).nonzero(as_tuple=True)
        target, part = targets.keep[row, at[row, mover, rank]], share[row, mover, rank]
        total = torch.ones(valid.shape, device=valid.device).index_put_((row, target), part, accumulate=True)
        stays, token = kept.nonzero(as_tuple=True)
        return weighted(
            kept,
            (stays, token, token, 1.0 / total[stays, token]),
            (row, movers.keep[row, mover], target, part / total[row, target]),
        )

    def _score(self, tokens: Tokens, keys: Tensor, attention: Tensor) -> Tensor:
        """(B, N): what speaks for each token, once the most redundant of every window are put back."""
        valid, side = tokens.valid, self.params.window
        attention = attention.float().masked_fill(~valid, 0.0)
        mean = keys.sum(1, keepdim=True) / tokens.count[:, None, None].clamp_min(1)
        score = self.params.beta * _of_norm_one(attention) - (1.0 - self.params.beta) * _of_norm_one(
            (keys * mean).sum(2)
        )
        place = tokens.grid.masked_fill(~valid[..., None], 0)
        y, x = (place[..., 1:] // side).unbind(2)
        rows, columns = y.amax(1, keepdim=True) + 1, x.amax(1, keepdim=True) + 1
        window = (place[..., 0] * rows + y) * columns + x
        shared = count_groups(window, valid, int(window.max()) + 1).gather(1, window) > 1
        weakest = shared & (rank_in_group(-score, window, valid) == 0)
        return torch.where(weakest, torch.where(score > 0, score / _PENALTY, score * _PENALTY), score)

    def flops(self, work: Work) -> int:
        return 2 * (work.n - work.m) * work.m * work.k


def _of_norm_one(values: Tensor) -> Tensor:
    """Values (B, N) at norm 1 over the row."""
    out: Tensor = values / values.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return out
