"""BTP: attention for the layer at hand, diversity for those to come (2505.22038, section 4; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.kernels import Cosine, Manhattan, farthest_first
from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class BtpParams(Params):
    """Parameters of `Btp`, all but one in shares of the survivors; the defaults are those of the published first stage.

    Attributes:
        attention: share chosen by attention.
        diversity: share chosen by diversity of their own.
        space: share spread evenly over the grid.
        widen: how many times the share by attention is looked at before the front of the sequence is preferred.
        front: whether it is; else all that are looked at are chosen.
    """

    attention: float = Field(0.3, ge=0, le=1)
    diversity: float = Field(0.3, ge=0, le=1)
    space: float = Field(0.5, ge=0, le=1)
    widen: float = Field(3.7, ge=1, le=10)
    front: bool = True


class Btp(Mechanism):
    """The union of a choice by attention, one by space and one by diversity, filled up by diversity.

    Published stages differ in the shares: early ones rely on diversity, for the layers to come, late ones on attention.
    The defaults are of LLaVA-1.5. On Qwen2.5-VL the first two stages take the most attended as they are (0.1 x 1.2 and
    0.4 of the survivors: no ``front``, ``diversity`` and ``space`` 0) and fill up by diversity from these.
    Attention is the last token's, of the layer before. Of the most attended (``widen`` times as many as wanted), those
    in the front of the sequence come first, since position encoding favours the back; as in the official code, the
    front ends at a place equal to the budget, where the paper halves the sequence. Space is farthest-point sampling by
    Manhattan distance on the grid from the first token; diversity the same by cosine, from the token whose nearest
    neighbour is farthest. Where the union is larger than the budget, which the code lets pass, the least attended of
    the last choice go.
    """

    name = "btp"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("last_query_attention",)
    criterion = "attention with diversity"
    source = "BTP, arXiv 2505.22038, section 4; `attn_prune`, `div_prune` of the official `modeling_llama.py`"
    Params = BtpParams
    params: BtpParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, attention = tokens.valid, scores["last_query_attention"]
        scaled = tokens.unit_features()
        chosen = self._attended(attention, budget, valid)
        spaced = self._spaced(tokens, (budget.double() * self.params.space).long())
        apart = (budget.double() * self.params.diversity).long()
        diverse = self._diverse(tokens, scaled, torch.zeros_like(valid), apart)
        for wanted in (spaced & ~chosen, diverse & ~chosen & ~spaced):
            room = torch.minimum(budget - chosen.sum(1), wanted.sum(1))
            chosen = chosen | top_mask(attention, room, wanted)
        return Reduction.select(self._diverse(tokens, scaled, chosen, budget))

    def _attended(self, attention: Tensor, budget: Tensor, valid: Tensor) -> Tensor:
        """The most attended, those in the front of the sequence first, or all of them."""
        count = (budget.double() * self.params.attention).long()
        wide = torch.minimum((count.double() * self.params.widen).long(), valid.sum(1))
        looked_at = top_mask(attention, wide if self.params.front else wide.minimum(budget), valid)
        if not self.params.front:
            return looked_at
        front = looked_at & (valid.cumsum(1) <= budget[:, None])
        first = torch.minimum(count, front.sum(1))
        return top_mask(attention, first, front) | top_mask(attention, count - first, looked_at & ~front)

    @staticmethod
    def _spaced(tokens: Tokens, count: Tensor) -> Tensor:
        """Farthest-point sampling on the grid, from the first token."""
        unknown = torch.full(tokens.valid.shape, torch.inf, device=tokens.valid.device)
        places = Manhattan(tokens.grid.float())
        return farthest_first(places, unknown, torch.zeros_like(tokens.valid), count, tokens.valid)

    @staticmethod
    def _diverse(tokens: Tokens, scaled: Tensor, start: Tensor, count: Tensor) -> Tensor:
        """Farthest-point sampling by cosine from ``start``, or from the loneliest token where that is empty."""
        valid = tokens.valid
        if not bool((count > start.sum(1)).any()):
            return start
        empty = ~start.any(1) & (count > 0)
        if bool(empty.any()):
            distance = 1.0 - torch.bmm(scaled, scaled.mT)
            distance.diagonal(dim1=1, dim2=2).fill_(4.0)
            lonely = distance.masked_fill(~valid[:, None], 4.0).amin(2)
            start = start | top_mask(lonely, empty.long(), valid)
        _, similarity = nearest(tokens.features, start, valid)
        return farthest_first(Cosine(scaled), 1.0 - similarity, start, count, valid)

    def flops(self, work: Work) -> int:
        apart = int(work.m * self.params.diversity)
        shares = (int(work.m * share) for share in (self.params.attention, self.params.space, self.params.diversity))
        matrices = (1 if apart else 0) + (0 if any(shares) else 1)
        products = max(1, apart - 1) if apart else 0
        return 2 * work.n * work.d * (work.n * matrices + products + max(1, work.m - 1))
