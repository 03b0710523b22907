"""MMTok: tokens that cover the query and the item itself (2508.18264; official `mm_coverage_selection`)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params, Work
from autotc.mechanisms.coverage import greedy_coverage
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class MMTokParams(Params):
    """Parameters of `MMTok`, with the official code's values.

    Attributes:
        alpha: weight of covering the item beside covering the query.
        text_temperature, item_temperature: what cosines to words, and among tokens, are divided by before the softmax.
    """

    alpha: float = Field(0.5, ge=0)
    text_temperature: float = Field(0.02, gt=0)
    item_temperature: float = Field(0.2, gt=0)


class MMTok(Mechanism):
    """Add, one by one, the token that most raises the coverage of the query's words and of the item's tokens.

    A word is covered by the largest of the chosen tokens' shares of its softmax over the item, a token likewise; words
    count 1 together, tokens ``alpha``. Tokens that stand for several count as often. All words of the query span are to
    be covered, where the code leaves stop words out; features are those after the projector for both parts, where the
    code takes the tower's for the second.
    """

    name = "mmtok"
    family = "query"
    modalities = MODALITIES
    locations = ("projector", "decoder")
    needs = ("text_features",)
    criterion = "coverage of text and item"
    source = "MMTok, arXiv 2508.18264, equations 4 to 8; `mm_coverage_selection` of the official code"
    Params = MMTokParams
    params: MMTokParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        unit, valid, params = tokens.unit_features(), tokens.valid, self.params
        words = scores["text_features"].float()
        spoken = words.abs().sum(2) > 0
        words = torch.nn.functional.normalize(words, dim=-1, eps=1e-8)
        hidden = ~valid[:, None, :]
        text = torch.bmm(words, unit.mT).div(params.text_temperature).masked_fill(hidden, -torch.inf).softmax(-1)
        item = torch.bmm(unit, unit.mT).div(params.item_temperature).masked_fill(hidden, -torch.inf).softmax(-1)
        of_text = spoken.float() / spoken.sum(1, keepdim=True).clamp_min(1)
        mass = tokens.mass.float()
        of_item = params.alpha * mass / mass.sum(1, keepdim=True).clamp_min(1e-6)
        value = torch.cat([text, item], 1).mT
        return Reduction.select(greedy_coverage(value, torch.cat([of_text, of_item], 1), None, budget, valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * (work.n + work.query) * work.d
