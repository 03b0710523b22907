"""What an engine's log says of a policy while it serves: how many tokens of how many are kept."""

from __future__ import annotations

import time
from collections import Counter

from vllm.logger import init_logger

from autotc.models import Item
from autotc.serve.vllm.serving import Serving

SECONDS = 10.0
"""Between two lines of the log, as between the engine's own."""

_LOGGER = init_logger("vllm.autotc")


class Tally:
    """Counts items as they are processed, those that a cache knows once, and logs the counts now and then.

    Args:
        serving: the policy.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._items: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._told = time.monotonic()

    def add(self, item: Item, left: int) -> None:
        """Count an item that is laid out in a prompt, and the tokens that will be left of it."""
        self._items[item.modality] += 1
        self._before[item.modality] += item.n0
        self._kept[item.modality] += left
        if time.monotonic() - self._told >= SECONDS:
            self._told = time.monotonic()
            _LOGGER.info("autotc policy %s: %s", self._serving.hash, self)

    def __str__(self) -> str:
        return "; ".join(
            f"{self._items[modality]:,} {modality}s processed, {self._kept[modality]:,} of {before:,} tokens kept"
            for modality, before in self._before.items()
        )
