"""SEATS inside the language model: attended tokens with a budget for each window (2605.20035; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.allocation import allocate
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.grouping import count_groups, group_mean
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_per_group
from autotc.mechanisms.tokens import Tokens
from autotc.mechanisms.windows import windows


class WindowAttentionParams(Params):
    """Parameters of `WindowAttention`, with the official code's values.

    ``seconds``: length of a window. ``temperature``: what the windows' mean attention is divided by before the softmax.
    """

    seconds: float = Field(2.0, gt=0)
    temperature: float = Field(0.1, gt=0)


class WindowAttention(Mechanism):
    """A softmax of the windows' mean attention shares the budget; each window keeps its most attended tokens.

    Attention is the last token's. The code joins video and audio: a window's budget follows the mean of both softmaxes
    and is then split in proportion to each one's own demand. With equal softmaxes that is the rule here, in which each
    modality has its budget and its own softmax. The code rounds and repairs the windows' counts; here they meet the
    budget by largest remainders. It projects the output of the layer before by that layer's own weights once more for
    the attention; here it is what that layer has computed.
    """

    name = "window_attention"
    family = "attention"
    modalities = ("video", "audio")
    locations = ("decoder",)
    needs = ("last_query_attention",)
    criterion = "last_query_attention"
    source = "SEATS, arXiv 2605.20035, second stage; `top_down_token_selection` of the official code"
    Params = WindowAttentionParams
    params: WindowAttentionParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        valid = tokens.valid
        attention = torch.nan_to_num(scores["last_query_attention"].double())
        window = windows(tokens, self.params.seconds)
        size = count_groups(window, valid, int(window.max()) + 1)
        mean = group_mean(attention[..., None], window, valid.double(), size.shape[1])[..., 0]
        share = (mean / self.params.temperature).masked_fill(size == 0, -torch.inf).softmax(1)
        return Reduction.select(top_per_group(attention, window, allocate(budget, share, size), valid))
