"""Batches that the device has too little memory for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence

import torch
from transformers import BatchFeature

from autotc.evaluate.batches import Batch
from autotc.evaluate.samples import Sample
from autotc.results import SampleResult

_OF_THE_HOST = "DefaultCPUAllocator: can't allocate memory"


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the host, has too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or _OF_THE_HOST in str(error)


def within_memory(
    run: Callable[[Batch], list[SampleResult]], batch: Batch, inputs: Callable[[Sequence[Sample]], BatchFeature]
) -> list[SampleResult]:
    """Run a batch; where the device has too little memory for it, its two halves, one after the other.

    Args:
        run: results of a batch.
        batch: of any number of samples.
        inputs: makes a batch of some of them.

    Raises:
        torch.OutOfMemoryError: there is too little for one half, or for one sample.
    """
    try:
        return run(batch)
    except RuntimeError as error:
        if len(batch.samples) == 1 or not out_of_memory(error):
            raise
    # Only here are the frames of what failed gone, and with them what they held.
    batch.features.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = len(batch.samples) // 2
    out = []
    for half in (slice(middle), slice(middle, None)):
        samples = batch.samples[half]
        out += run(Batch(samples, batch.ranks[half], inputs(samples)))
    return out
