"""Compression mechanisms: pure functions from `Tokens` to `Reduction`."""

from autotc.mechanisms.base import (
    LAYER_SCORES,
    RANK_ROUNDS,
    SCORES_AT,
    TEXT_SCORES,
    TOWER_SCORES,
    AdaptiveParams,
    CountedParams,
    Mechanism,
    Params,
    Reduction,
    Score,
    Tokens,
    Work,
    engine_count,
    pruning_rate,
    target_count,
    top_mask,
)
from autotc.mechanisms.registry import MECHANISMS, build_mechanism

__all__ = [
    "LAYER_SCORES",
    "MECHANISMS",
    "RANK_ROUNDS",
    "SCORES_AT",
    "TEXT_SCORES",
    "TOWER_SCORES",
    "AdaptiveParams",
    "CountedParams",
    "Mechanism",
    "Params",
    "Reduction",
    "Score",
    "Tokens",
    "Work",
    "build_mechanism",
    "engine_count",
    "pruning_rate",
    "target_count",
    "top_mask",
]
