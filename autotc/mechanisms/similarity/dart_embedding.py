"""DART on embeddings, as TensorRT Edge-LLM has it: before the first layer, without keys."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autotc.lazy import Tensor
from autotc.mechanisms.contract import CountedParams, Mechanism, Work
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.similarity.dart import DartParams, least_like_pivots
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class DartEmbeddingParams(DartParams, CountedParams):
    """Parameters of `DartEmbedding`: pivots taken from the item and from the query span, and who counts."""


class DartEmbedding(Mechanism):
    """`Dart` with pivots by the L1 norm of embeddings, for places where no layer has computed keys.

    The engine takes text pivots from all text of a prompt; here they are of the query span, as those of `Dart`. With
    ``counting: engine`` an item keeps ceil(tokens x ratio), at least 1; the engine counts so for each image, and for
    each contiguous span of a video.
    """

    name = "dart_embedding"
    family = "similarity"
    modalities = MODALITIES
    locations = ("projector",)
    needs = ("text_features",)
    criterion = "dissimilarity to pivots"
    source = "TensorRT Edge-LLM 0.11, visual-token pruning; after DART, arXiv 2502.11494, section 3.3"
    Params = DartEmbeddingParams
    params: DartEmbeddingParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        text = scores["text_features"].float()
        norm = tokens.features.float().abs().sum(2)
        return Reduction.select(least_like_pivots(tokens, norm, text, text.abs().sum(2), budget, self.params))

    def flops(self, work: Work) -> int:
        pivots = min(self.params.item_pivots, work.n) + min(self.params.text_pivots, work.query)
        return 2 * pivots * work.n * work.d

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        if self.params.counting == "policy":
            return super().target(keep_ratio, n0, left, grid)
        # 1e-9: a ratio such as 1 - 0.9 must not count one more for its rounding.
        return max(1, min(left, math.ceil(n0 * keep_ratio - 1e-9)))
