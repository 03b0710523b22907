"""ToMe: bipartite soft matching (2210.09461, section 3; official `bipartite_soft_matching` and `merge_wavg`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.matching import merge_rounds
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class ToMeParams(Params):
    """Parameters of `ToMe`; ``window``: most places between two tokens that merge; None, as published, for any."""

    window: int | None = Field(None, ge=1)


class ToMe(Mechanism):
    """Even tokens flow into their most similar odd token, the most similar pairs first, averaged by mass.

    One call of the published rule removes at most half of the tokens. Rounds are repeated, on the merged tokens' mean
    keys, until the budget is met. Evens and odds are counted from the row's first token, in the order of positions,
    which the code gives up once it has merged. On a tower with a class token the code counts that token too, as number
    0 that never merges: there the item's first token is an odd one, takes others in, and the second flows. Merging
    happens between blocks and leaves attention unweighted, where the code merges between attention and MLP and adds the
    log of each token's size to the attention scores.

    ``window`` is the limit of LTBM (2605.25179): only tokens near in time merge. Places are counted in what is left in
    a round, so that every token has one to merge with.
    """

    name = "tome"
    family = "similarity"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    needs = ("keys",)
    criterion = "similarity merge"
    source = "ToMe, arXiv 2210.09461, section 3; `bipartite_soft_matching` of the official code"
    Params = ToMeParams
    params: ToMeParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        keys = scores.get("keys", tokens.features).float().masked_fill(~valid[..., None], 0.0)
        root = merge_rounds(keys * tokens.mass.float()[..., None], valid, budget, window=self.params.window)
        place = torch.arange(valid.shape[1], device=valid.device)
        return Reduction.merge((root == place) & valid, root.masked_fill(~valid, -1), tokens.mass)

    def flops(self, work: Work) -> int:
        n, total = work.n, 0
        while n > work.m:
            total += 2 * ((n + 1) // 2) * (n // 2) * work.k
            n -= min(n - work.m, n // 2)
        return total
