"""Text similarity: the tokens closest to the query's embedding (LongVU, 2410.17434, section 3.2, eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import Mechanism
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class TextSimilarity(Mechanism):
    """Top-k of the cosine to the mean of the query span's embeddings.

    LongVU averages dot products over the query's and the frame's tokens and chooses the frames that keep their full
    resolution while the others are pooled; this chooses tokens, by cosine, and drops the rest.
    """

    name = "text_similarity"
    family = "query"
    modalities = MODALITIES
    locations = ("projector", "decoder")
    needs = ("text_similarity",)
    criterion = "text_similarity"
    source = "LongVU, arXiv 2410.17434, section 3.2, eq. 1; for tokens instead of frames"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        return Reduction.select(top_mask(scores["text_similarity"], budget, tokens.valid))
