"""Text similarity: the tokens closest to the query's embedding (LongVU, 2410.17434, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from autotc.mechanisms.base import MODALITIES, Mechanism, Reduction, Score, Tokens, top_mask


class TextSimilarity(Mechanism):
    """Top-k of the cosine to the query span; LongVU chooses whole frames by it, this chooses tokens."""

    name = "text_similarity"
    family = "query"
    modalities = MODALITIES
    locations = ("projector", "decoder")
    needs = ("text_similarity",)
    criterion = "text_similarity"
    source = "LongVU, arXiv 2410.17434, section 3.2"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["text_similarity"], budget, tokens.valid))
