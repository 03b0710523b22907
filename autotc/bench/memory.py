"""Memory of a prefill: the most that it holds, and the cache that it leaves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autotc.errors import missing_dependency
from autotc.runtime.cache import CACHE
from autotc.timing import prefill

_SAMPLED_EVERY = 0.002
"""Seconds between two looks at the process's memory, where the device keeps no record."""


def prefill_memory(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[int, int]:
    """Bytes of working memory of a prefill, and bytes of the cache that it fills."""
    with peak_memory(next(model.parameters()).device) as most:
        cache = prefill(model, inputs)[CACHE]
    kv = sum(
        part.numel() * part.element_size()
        for layer in cache.layers
        for part in (layer.keys, layer.values)
        if isinstance(part, Tensor)
    )
    return most[0], kv


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The most memory that is held inside, less what was held before: a list of one number, filled at the end.

    Raises:
        MissingDependencyError: the device is the CPU and psutil, which watches the process there, is not installed.
    """
    out: list[int] = []
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield out
        torch.cuda.synchronize(device)
        out.append(torch.cuda.max_memory_allocated(device) - before)
        return
    try:
        import psutil
    except ImportError as error:
        raise missing_dependency(error) from error
    process, done = psutil.Process(), threading.Event()
    before = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not done.wait(_SAMPLED_EVERY):
            most = max(most, process.memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield out
    finally:
        done.set()
        thread.join()
        out.append(max(most, process.memory_info().rss) - before)
