"""FitPrune: tokens low in both self- and cross-attention leave, layer by layer (2409.10197; official code)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class FitPrune(Mechanism):
    """Top-k of the attention received from the item times the attention received from the text.

    Both are maxima over heads. As in the official code (`modeling_llama.py`), the product ranks, where the fitting
    intersects two sets. The code drops between attention and MLP of a layer; this drops before the next layer, by the
    attention of the layer before. Text is the query span, where the code reads all tokens after the image. How many
    tokens stay at each layer is fitted offline: see `autotc.presets.fitting.fit_counts`.
    """

    name = "fitprune"
    family = "attention"
    modalities = MODALITIES
    locations = ("decoder",)
    needs = ("received_attention", "text_attention")
    head_reduction = "max"
    criterion = "received_attention x text_attention"
    source = "FitPrune, arXiv 2409.10197; `LlamaAttention.forward` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        cross = scores["text_attention"].double().sum(2)
        return Reduction.select(top_mask(scores["received_attention"].double() * cross, budget, tokens.valid))
