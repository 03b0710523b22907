"""Received attention: the tokens that the others attend to most (2504.01690; official `models_vit.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class ReceivedAttention(Mechanism):
    """Top-k of the attention a token receives, mean over heads and over the tokens of its segment or item.

    In an audio tower this is the official code's TopK pruning for AudioMAE, which drops between attention and MLP of a
    block, where this drops after the block; it fine-tunes the model at the reduced count and leaves out the class
    token. In the decoder, from the tokens of the item alone, it is the second phase of SpeechPrune (2412.12009, section
    3), which estimates the same scores from the signs of the first layer's weights and inputs.
    """

    name = "received_attention"
    family = "attention"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    needs = ("received_attention",)
    criterion = "received_attention"
    source = "Token Pruning in Audio Transformers, arXiv 2504.01690; `Attention.forward` of the official code"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["received_attention"], budget, tokens.valid))
