"""DTD: differential token drop of TimeChat-Online (2504.17343; official `token_drop`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.frames import change
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import rank_in_group, top_mask
from autotc.mechanisms.tokens import Tokens


class DtdParams(AdaptiveParams):
    """Parameters of `Dtd`: ``threshold``, the cosine above which a token counts as unchanged, of the adaptive form."""

    threshold: float = Field(0.5, ge=-1, le=1)


class Dtd(Mechanism):
    """Keep the first frame whole, and of every later frame what changed most since the frame before.

    The published form drops whatever is more similar to the same place of the previous frame than a threshold
    (``adaptive``; over the budget, the least changed go first). The rate-controlled form is the official code's
    relative one: every later frame keeps the same share, here with what does not divide going to the earlier frames.
    Below one frame, which neither reaches, only tokens of the first frame are kept. Change is by cosine of features as
    they enter the language model, the code's ``feature`` method; its other one compares pixels.
    """

    name = "dtd"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "temporal redundancy"
    source = "TimeChat-Online, arXiv 2504.17343; `token_drop` of the official code"
    Params = DtdParams
    params: DtdParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, frame = tokens.valid, tokens.grid[..., 0]
        changed = change(tokens, torch.ones_like(frame)).masked_fill(frame == 0, torch.inf)
        if self.adaptive:
            differs = valid & (changed >= 1.0 - self.params.threshold)
            return Reduction.select(top_mask(changed, differs.sum(1).minimum(budget), valid))
        rank = rank_in_group(changed, frame.masked_fill(~valid, 0), valid)
        return Reduction.select(top_mask((-rank.float()).masked_fill(frame == 0, 1.0), budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d
