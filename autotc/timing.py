"""How long runs take: pairs whose order alternates, the device waited for. All times in autotc are taken so."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from autotc.lazy import Tensor, nn, torch
from autotc.policy import UNCOMPRESSED, Policy
from autotc.runtime import apply
from autotc.statistics import Interval, median_ratio_interval

Measurement = TypeVar("Measurement")


def synchronised(model: nn.Module) -> float:
    """The clock in seconds, once the model's device has done what it was given."""
    if next(model.parameters()).device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def prefill(model: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """One forward over a prompt that fills the cache and scores the last position, as ``generate()`` begins."""
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.inference_mode():
        return model(**inputs, use_cache=True, **last)


def timed_prefill(model: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Seconds of one `prefill`."""
    start = synchronised(model)
    prefill(model, inputs)
    return synchronised(model) - start


def alternate(
    first: Callable[[], Measurement], second: Callable[[], Measurement], repeats: int
) -> tuple[list[Measurement], list[Measurement]]:
    """What two runs measure in turn.

    Pairs, so that a machine that slows down slows both; the order within a pair alternates, so that neither always
    finds the other's caches; a pair that warms up goes before and does not count.

    Args:
        first, second: run and return what they measure.
        repeats: pairs that count.

    Returns:
        ``repeats`` measurements of each.
    """
    sides: tuple[list[Measurement], list[Measurement]] = ([], [])
    for turn in range(repeats + 1):
        for side in (0, 1) if turn % 2 else (1, 0):
            measured = second() if side else first()
            if turn:
                sides[side].append(measured)
    return sides


def alternate_policies(
    model: nn.Module,
    policy: Policy,
    inputs: Mapping[str, Tensor],
    baseline: Mapping[str, Tensor],
    repeats: int,
    run: Callable[[Mapping[str, Tensor]], Measurement],
) -> tuple[list[Measurement], list[Measurement]]:
    """What ``run`` measures under a policy and without it; pairs as in `alternate`.

    Args:
        model: that runs.
        policy: to apply.
        inputs: prepared under the policy.
        baseline: the same requests, prepared without it.
        repeats: pairs that count.
        run: runs the model on inputs.
    """

    def under_policy() -> Measurement:
        with apply(model, policy):
            return run(inputs)

    return alternate(under_policy, lambda: run(baseline), repeats)


@dataclass(frozen=True)
class PrefillTimes:
    """Prefill times of a policy beside those without it, in seconds, taken in pairs.

    Attributes:
        policy, baseline: of each pair.
        scoring_share: share of the policy's prefill that scores and mechanisms take, median.
    """

    policy: tuple[float, ...]
    baseline: tuple[float, ...]
    scoring_share: float

    @property
    def seconds(self) -> float:
        """Median prefill time under the policy."""
        return float(np.median(self.policy))

    @property
    def ratio(self) -> Interval:
        """Median of the pairs' ratios, policy over baseline, with its 95% interval."""
        return median_ratio_interval(self.baseline, self.policy)


def time_prefill(
    model: nn.Module, policy: Policy, inputs: Mapping[str, Tensor], baseline: Mapping[str, Tensor], repeats: int
) -> PrefillTimes:
    """Time the prefill of one batch under a policy and without it.

    Args:
        model: that runs.
        policy: to apply.
        inputs: prepared under the policy, on the model's device.
        baseline: the same requests, prepared without it.
        repeats: pairs that count.
    """
    under, without = alternate_policies(
        model, policy, inputs, baseline, repeats, lambda prepared: timed_prefill(model, prepared)
    )
    return PrefillTimes(tuple(under), tuple(without), _scoring_share(model, policy, inputs, repeats))


def _scoring_share(model: nn.Module, policy: Policy, inputs: Mapping[str, Tensor], repeats: int) -> float:
    """Measured apart: to see scores and mechanisms by themselves the device is waited for around each of them."""
    if policy.content_hash() == UNCOMPRESSED.content_hash():
        return 0.0
    shares = []
    with apply(model, policy) as handle:
        handle.synchronise_scoring()
        for _ in range(repeats):
            handle.scoring_seconds.clear()
            seconds = timed_prefill(model, inputs)
            shares.append(sum(handle.scoring_seconds) / seconds)
    return float(np.median(shares))
