"""DynTok: runs of alike tokens along a row become one (2506.03990)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import AdaptiveParams, Mechanism, Work
from autotc.mechanisms.grouping import neighbour_runs
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens


class DynTokParams(AdaptiveParams):
    """Parameters of `DynTok`: ``threshold``, cosine above which neighbours are joined in the adaptive form."""

    threshold: float = Field(0.6, ge=-1, le=1)


class DynTok(Mechanism):
    """Tokens most like their left neighbour join it; a run of them is averaged and stands at its first token.

    The paper joins above a threshold. This is the rate-controlled form: the threshold is the quantile that leaves the
    budget; the adaptive form joins every pair above the given one, and further pairs while more is left than the
    budget. Which features are compared is not confirmed; these are the projected ones. Below one token for each row,
    which the published rule never reaches, rows join the one before. Averages are by mass.
    """

    name = "dyntok"
    family = "similarity"
    modalities = ("image", "video")
    locations = ("projector",)
    criterion = "similarity along rows"
    source = "DynTok, arXiv 2506.03990"
    Params = DynTokParams
    params: DynTokParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, threshold = tokens.valid, self.params.threshold
        line = tokens.grid[..., 0] * (int(tokens.grid[..., 1].max()) + 1) + tokens.grid[..., 1]
        opens = torch.ones_like(valid)
        opens[:, 1:] = line[:, 1:] != line[:, :-1]
        head = neighbour_runs(tokens.features, budget, valid, threshold if self.params.adaptive else None, opens)
        place = torch.arange(head.shape[1], device=head.device)
        return Reduction.merge(head == place, head, tokens.mass)

    def flops(self, work: Work) -> int:
        return 2 * (work.n - 1) * work.d
