"""Every interval: means, paired differences and ratios with their 95% bootstrap bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError

Array = NDArray[np.float64]
RESAMPLES = 2000
"""Resamples of every bootstrap."""
BOUNDS = (0.025, 0.975)
"""Quantiles that bound a 95% interval."""


class Interval(NamedTuple):
    """An estimate with its 95% bounds.

    Attributes:
        mean: the estimate; of ratios it is the median.
        low, high: the bounds.
    """

    mean: float
    low: float
    high: float


def resample_counts(size: int, seed: int = 0) -> Array:
    """How often each bootstrap resample holds each of ``size`` samples: (RESAMPLES, size)."""
    return _counts(np.random.default_rng(seed), size)


def _counts(rng: np.random.Generator, size: int) -> Array:
    return rng.multinomial(size, np.full(size, 1 / size), size=RESAMPLES).astype(float)


def percentile_interval(estimate: float, resampled: Array) -> Interval:
    """An estimate with the percentiles of its bootstrap resamples (RESAMPLES,)."""
    low, high = np.quantile(resampled, BOUNDS)
    return Interval(float(estimate), float(low), float(high))


def mean_interval(values: Array, seed: int = 0) -> Interval:
    """Mean of per-sample values (n,) with its percentile bootstrap interval over samples.

    Raises:
        DataError: there are no values.
    """
    if not len(values):
        raise DataError("no samples to average; at least one is needed")
    return percentile_interval(float(values.mean()), resample_counts(len(values), seed) @ values / len(values))


def mean_of_groups_interval(groups: Sequence[Array]) -> Interval:
    """Mean over groups of their means, with an interval from resampling each group by itself.

    Args:
        groups: per-sample values (n_g,) of each group, none of them empty.
    """
    rng = np.random.default_rng(0)
    total = np.zeros(RESAMPLES)
    for values in groups:
        total += _counts(rng, len(values)) @ values / len(values)
    estimate = float(np.mean([values.mean() for values in groups]))
    return percentile_interval(estimate, total / len(groups))


def median_ratio_interval(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Interval:
    """Median of the ratios second / first of measurements taken in pairs, with its interval over pairs."""
    ratios = np.array(second) / np.array(first)
    draws = np.random.default_rng(seed).integers(0, len(ratios), (RESAMPLES, len(ratios)))
    return percentile_interval(float(np.median(ratios)), np.median(ratios[draws], axis=1))
