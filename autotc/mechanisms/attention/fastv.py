"""FastV: the tokens that the last token attends to most (2403.06764, section 4.1; official `fastv_forward.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.clustering import nearest
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class FastVParams(Params):
    """Parameters of `FastV`; ``recycle`` merges what is dropped into what is kept, as HoliTom does."""

    recycle: bool = False


class FastV(Mechanism):
    """Top-k of the last token's attention, mean over heads, of the layer before.

    The paper ranks by the attention a token receives from all others; the official code, followed here, reads the last
    token's row of the layer before the cut. Each item has its own budget, where the code has one for a single image.

    ``recycle`` is HoliTom's merge in the decoder (2505.21334, section 3.3): every dropped token flows into the kept one
    most like it by cosine. As in its code, they do so one after another, each time by halves, so later ones weigh more.
    """

    name = "fastv"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("last_query_attention",)
    criterion = "last_query_attention"
    source = "FastV, arXiv 2403.06764, section 4.1; last token's row as in the official code"
    Params = FastVParams
    params: FastVParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        kept = top_mask(scores["last_query_attention"], budget, valid)
        if not self.params.recycle or bool((kept == valid).all()):
            return Reduction.select(kept)
        dropped = valid & ~kept
        place = torch.arange(valid.shape[1], device=valid.device).expand_as(valid)
        into = torch.where(kept, place, nearest(tokens.features, kept, valid)[0])
        into = into.masked_fill(~valid, 0)
        # Of n halvings, the last token to arrive goes through one, the kept token through all.
        halvings = rank_in_group(place.float().masked_fill(kept, -1.0), into, valid) + dropped
        # Beyond 30, weights are lost to rounding in any case; zero weights would lose the token's mass.
        weight = 0.5 ** halvings.clamp_max(30).float()
        row, src = valid.nonzero(as_tuple=True)
        column = kept.cumsum(1) - 1
        return Reduction.linear(kept, row, src, column[row, into[row, src]], weight[row, src])

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.m * work.d if self.params.recycle and work.n > work.m else 0
