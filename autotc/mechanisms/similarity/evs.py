"""EVS: efficient video sampling by change since the previous frame (2510.14624; `vllm/multimodal/evs.py`)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from autotc.mechanisms.base import Mechanism, Reduction, Score, Tokens, top_mask


def frame_tokens(tokens: Tokens) -> Tensor:
    """Tokens of one frame of each row, (B, 1) long."""
    size = (tokens.grid + 1).masked_fill(~tokens.valid[..., None], 1).amax(1)
    return (size[:, 1] * size[:, 2])[:, None]


def change(tokens: Tokens, back: Tensor) -> Tensor:
    """1 - cosine of each token to the same place some frames before.

    Args:
        tokens: rows that are full grids in raster order.
        back: (B, N) long, how many frames before; values on the first ``back`` frames are undefined.

    Returns:
        (B, N) float.
    """
    unit = tokens.unit_features()
    place = torch.arange(unit.shape[1], device=unit.device)
    before = (place - back * frame_tokens(tokens)).clamp_min(0)
    other = unit.gather(1, before[..., None].expand_as(unit))
    return 1.0 - torch.einsum("bnd,bnd->bn", unit, other)


class Evs(Mechanism):
    """Keep the tokens that changed most since the previous frame; the first frame ranks above all.

    As in vLLM, change is cosine dissimilarity of embeddings and the first frame counts towards the budget; the paper's
    other form takes the L1 difference of pixels, and its threshold is a percentile over the later frames.
    """

    name = "evs"
    family = "similarity"
    modalities = ("video",)
    locations = ("projector",)
    uses_grid = True
    criterion = "temporal redundancy"
    source = "EVS, arXiv 2510.14624, on embeddings; first frame and global ranking as vLLM's `compute_retention_mask`"

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        frame = tokens.grid[..., 0]
        score = change(tokens, torch.ones_like(frame)).masked_fill(frame == 0, torch.inf)
        return Reduction.select(top_mask(score, budget, tokens.valid))

    def flops(self, n: int, m: int, d: int) -> int:
        return 2 * n * d

    def floor(self, grid: tuple[int, int, int]) -> int:
        return grid[1] * grid[2]
