"""Compression mechanisms: pure functions from `Tokens` to `Reduction`."""

from autotc.mechanisms.base import (
    LOCATIONS,
    MODALITIES,
    Family,
    Location,
    Mechanism,
    Modality,
    Params,
    Reduction,
    Score,
    Tokens,
    target_count,
    top_mask,
)
from autotc.mechanisms.registry import MECHANISMS, build_mechanism

__all__ = [
    "LOCATIONS",
    "MECHANISMS",
    "MODALITIES",
    "Family",
    "Location",
    "Mechanism",
    "Modality",
    "Params",
    "Reduction",
    "Score",
    "Tokens",
    "build_mechanism",
    "target_count",
    "top_mask",
]
