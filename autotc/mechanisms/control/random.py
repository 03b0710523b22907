"""Seeded uniform choice, a strong control: in UniPruneBench (2511.02650) it beats most methods on LLaVA-1.5.

Six of eight, with LLaVA-v1.5-7B and 66.7% or 77.8% of the tokens pruned.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from autotc.lazy import Tensor, torch
from autotc.mechanisms.contract import Mechanism, Params
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.scores import Score
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens
from autotc.vocabulary import MODALITIES


class RandomParams(Params):
    """Parameters of `Random`."""

    seed: int = Field(0, ge=0)


class Random(Mechanism):
    """Keep a uniformly random subset; the draw depends on the seed and on the item's own values, not on its row."""

    name = "random"
    family = "control"
    modalities = MODALITIES
    locations = ("encoder", "projector", "decoder")
    criterion = "chance"
    source = "control"
    Params = RandomParams

    def reduce(self, tokens: Tokens, budget: Tensor, scores: Mapping[Score, Tensor]) -> Reduction:
        n = tokens.features.shape[1]
        score = torch.zeros(tokens.valid.shape, dtype=torch.float64)
        for row, count in enumerate(tokens.count.tolist()):
            content = tokens.features[row, n - count :, 0].double().sum().item()
            key = hash((self.params.model_dump()["seed"], count, round(content, 2))) % (2**63)
            score[row, n - count :] = torch.rand(
                count, generator=torch.Generator().manual_seed(key), dtype=torch.float64
            )
        return Reduction.select(top_mask(score.to(tokens.valid.device), budget, tokens.valid))
