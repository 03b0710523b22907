"""Compression mechanisms: pure functions from `Tokens` to `Reduction`, each in a file of its own, by family.

What they share: the contract (`contract`), what they take and return (`tokens`, `reduction`, `scores`, `counting`), and
steps of several published methods (`selection`, `frames`, `grouping`, `clustering`, `allocation`).
"""

from autotc.mechanisms.contract import (
    AdaptiveParams,
    CountedParams,
    InputMechanism,
    Mechanism,
    MechanismBase,
    Params,
    Work,
)
from autotc.mechanisms.counting import engine_count, pruning_rate, target_count
from autotc.mechanisms.item_scores import item_score
from autotc.mechanisms.reduction import Reduction
from autotc.mechanisms.registry import MECHANISMS, build_mechanism, input_mechanism
from autotc.mechanisms.scores import (
    BLOCK_SCORES,
    LAYER_SCORES,
    RANK_ROUNDS,
    RANK_TEMPERATURE,
    SCORES_AT,
    TEXT_SCORES,
    TOWER_SCORES,
    Score,
)
from autotc.mechanisms.selection import top_mask
from autotc.mechanisms.tokens import Tokens

__all__ = [
    "BLOCK_SCORES",
    "LAYER_SCORES",
    "MECHANISMS",
    "RANK_ROUNDS",
    "RANK_TEMPERATURE",
    "SCORES_AT",
    "TEXT_SCORES",
    "TOWER_SCORES",
    "AdaptiveParams",
    "CountedParams",
    "InputMechanism",
    "Mechanism",
    "MechanismBase",
    "Params",
    "Reduction",
    "Score",
    "Tokens",
    "Work",
    "build_mechanism",
    "engine_count",
    "input_mechanism",
    "item_score",
    "pruning_rate",
    "target_count",
    "top_mask",
]
