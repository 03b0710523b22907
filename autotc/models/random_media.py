"""Sizes and marks of random media, for measurements that no data are needed for."""

from __future__ import annotations

import math

from autotc.lazy import PreTrainedConfig, torch
from autotc.models.adapter import Adapter
from autotc.models.geometry import Media


def nearest_grid(units: float) -> tuple[int, int]:
    """Rows and columns whose product is near to a number, near to a square."""
    side = max(1, math.isqrt(int(units)))
    rows = range(side, max(1, side // 2) - 1, -1)
    return min(((y, max(1, round(units / y))) for y in rows), key=lambda grid: abs(grid[0] * grid[1] - units))


def marks(config: PreTrainedConfig, name: str) -> list[int]:
    """The token of a mark, where the configuration has it."""
    token = getattr(config, name, None)
    return [] if token is None else [int(token)]


def random_clip(adapter: Adapter, config: PreTrainedConfig, tokens: int, generator: torch.Generator) -> Media:
    """One audio clip of about ``tokens`` tokens for towers that take any length."""
    low, high = 1, 16 * tokens + 16
    while low < high:  # the fewest frames that make so many
        middle = (low + high) // 2
        (item,) = adapter.geometry(config, "audio", {"feature_attention_mask": torch.ones(1, middle)})
        low, high = (low, middle) if item.count >= tokens else (middle + 1, high)
    mask = torch.ones(1, low, dtype=torch.long)
    (item,) = adapter.geometry(config, "audio", {"feature_attention_mask": mask})
    features = torch.randn(1, config.audio_config.num_mel_bins, low, generator=generator)
    opening, closing = marks(config, "audio_start_token_id"), marks(config, "audio_end_token_id")
    ids = [*opening, *[adapter.placeholders(config)["audio"]] * item.count, *closing]
    return Media(ids, {"input_features": features, "feature_attention_mask": mask})
