"""SpeechPrune, first phase: speech-text similarity with a budget for each second (2412.12009, section 3)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.grouping import count_groups
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group, unit
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.windows import windows


class SpeechPruneParams(Params):
    """Parameters of `SpeechPrune`: ``seconds``, length of the windows that share the budget; published: 1."""

    seconds: float = Field(1.0, gt=0)


class SpeechPrune(Mechanism):
    """A softmax of the windows' summed relevance shares the budget; each window keeps its most relevant tokens.

    Relevance is the mean cosine to the tokens of the query. The paper rounds every window's count down; here the counts
    meet the budget by largest remainders, and what a window cannot hold goes to the others. The second phase is
    `ReceivedAttention` in the decoder.
    """

    name = "speechprune"
    family = "query"
    modalities = ("audio",)
    locations = ("projector",)
    needs = ("text_features",)
    criterion = "text_similarity"
    source = "SpeechPrune, arXiv 2412.12009, section 3, first phase"
    Params = SpeechPruneParams
    params: SpeechPruneParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid, text = tokens.valid, scores["text_features"]
        present = text.abs().amax(2) > 0
        query = unit(text, present).sum(1) / present.sum(1, keepdim=True).clamp_min(1)
        relevance = torch.einsum("bnd,bd->bn", tokens.unit_features(), query)

        window = windows(tokens, self.params.seconds)
        size = count_groups(window, valid, int(window.max()) + 1)
        total = torch.zeros(size.shape, dtype=torch.double, device=size.device)
        total.scatter_add_(1, window, relevance.double().masked_fill(~valid, 0.0))
        share = total.masked_fill(size == 0, -torch.inf).softmax(1)
        return Reduction.select(top_per_group(relevance, window, allocate(budget, share, size), valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d
