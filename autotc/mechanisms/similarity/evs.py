"""EVS: efficient video sampling by change since the previous frame (2510.14624; `vllm/multimodal/evs.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import CountedParams, Mechanism, Work
from autotc.mechanisms.counting import engine_count
from autotc.mechanisms.frames import change
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens


class Evs(Mechanism):
    """Keep the tokens that changed most since the previous frame; the first frame ranks above all.

    As in vLLM, change is cosine dissimilarity of embeddings and the first frame counts towards the budget; the paper's
    other form takes the L1 difference of pixels, and its threshold is a percentile over the later frames. With
    ``counting: engine`` the count is vLLM's, SGLang's and TensorRT-LLM's too: rounded down, never less than a frame,
    so that the first frame stays whole.
    """

    name = "evs"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "temporal redundancy"
    source = "EVS, arXiv 2510.14624, on embeddings; first frame and global ranking as vLLM's `compute_retention_mask`"
    Params = CountedParams
    params: CountedParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        frame = tokens.grid[..., 0]
        score = change(tokens, torch.ones_like(frame)).masked_fill(frame == 0, torch.inf)
        return Reduction.select(top_mask(score, budget, tokens.valid))

    def flops(self, work: Work) -> int:
        return 2 * work.n * work.d

    def target(self, keep_ratio: float, n0: int, left: int, grid: tuple[int, int, int]) -> int:
        if self.params.counting == "policy":
            return super().target(keep_ratio, n0, left, grid)
        # `compute_retained_tokens_count`
        return min(left, max(grid[1] * grid[2], engine_count(keep_ratio, n0)))
