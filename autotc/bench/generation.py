"""Generation against the clock, and what its prefill costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autotc.cost import Cost
from autotc.models import bind
from autotc.timing import synchronised


def prefill_flops(cost: Cost, rows: int, length: int) -> float:
    """Predicted FLOPs of a prefill that scores the last position of each row alone."""
    return cost.total - cost.head + cost.head * rows / (rows * length)


class TokenClock:
    """A streamer that notes when tokens come; the first call brings the prompt.

    Args:
        model: whose device is waited for.

    Attributes:
        times: seconds on the clock of every call.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        """Note the time of the prompt, or of a token."""
        self.times.append(synchronised(self._model))

    def end(self) -> None:
        """Nothing is held back."""


def timed_generation(model: Any, inputs: Mapping[str, Tensor], new_tokens: int) -> list[float]:
    """Seconds to the first token of ``generate()``, and for each one after it."""
    clock = TokenClock(model)
    placeholders = sorted(bind(model).placeholders.values())
    start = synchronised(model)
    with torch.inference_mode():
        model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=0,
            suppress_tokens=placeholders,
            streamer=clock,
        )
    first, last = clock.times[1], clock.times[-1]
    return [first - start, (last - first) / (new_tokens - 1)]
