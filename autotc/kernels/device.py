"""Whether Triton can run a loop over some tensors, and how it is cut."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

from autotc.lazy import Tensor, torch

LONGEST = 32768
"""Tokens of a row up to which a loop runs in one launch: a program holds a row in its registers."""


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton's interpreter stands in for a device (``TRITON_INTERPRET=1``)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def in_one_launch(values: Tensor) -> bool:
    """Whether a loop over rows (B, N, ...) of a device runs there in one launch."""
    placed = values.device.type == "cuda" or (interpreted() and values.device.type == "cpu")
    return placed and 0 < values.shape[1] <= LONGEST and values.shape[0] > 0 and _installed()


def width(tokens: int) -> int:
    """Elements that a program holds of a row: the next power of two, from 16."""
    return max(16, 1 << (tokens - 1).bit_length())


def warps(elements: int) -> int:
    """Warps of a program that holds so many elements: about eight for a thread."""
    return min(32, max(4, elements // 256))


def programs(values: Tensor) -> int:
    """Programs that may share a row, a power of two; all run at once, so that they can wait for one another."""
    if interpreted():  # one program after another: none may wait
        return 1
    rows, tokens = values.shape[:2]
    free = torch.cuda.get_device_properties(values.device).multi_processor_count // (2 * rows)
    most = max(1, min(64, free, tokens // 128))
    return 1 << (most.bit_length() - 1)
