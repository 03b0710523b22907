"""Every interval: means, paired differences and ratios with their 95% bounds.

Scores lie in [0, 1] and are mostly 0 or 1, so that plain intervals fail at the edges: 10 of 10 right has no spread, and
is no proof that nothing can go wrong. Means and differences therefore count a few samples more than were seen, half of
them at each bound (Agresti and Coull 1998 for means, Bonett and Price 2012 for paired differences). Samples of one
cluster (questions about one picture, clip or document) answer alike; n of them count as n over the design effect, the
cluster-robust variance over that of independent samples (Korn and Graubard 1998), and Student's t over the clusters
takes the place of the normal distribution. `tests/test_statistics.py` holds the coverage of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError, missing_dependency

Array = NDArray[np.float64]
RESAMPLES = 2000
"""Resamples of every bootstrap."""
BOUNDS = (0.025, 0.975)
"""Quantiles that bound a 95% interval."""
_UNSEEN_CLUSTERS = 0.1
"""Weight of a cluster whose samples all agree, in every design effect. Where all scores are equal nothing tells how
alike clusters are, and a whole cluster counts as one sample; where many differ it changes nothing."""


class Interval(NamedTuple):
    """An estimate with its 95% bounds.

    Attributes:
        mean: the estimate; of ratios it is the median.
        low, high: the bounds.
    """

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or wholly below 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Difference:
    """An estimated difference and how uncertain it is.

    Attributes:
        mean: of the pairs.
        center: the mean after one pair more at each bound: what intervals and tests stand on.
        error: standard error.
        freedom: degrees of freedom of the error; infinite where it follows from the counts.
        span: the largest difference that there can be.
    """

    mean: float
    center: float
    error: float
    freedom: float
    span: float = 1.0

    def interval(self) -> Interval:
        """The mean with its 95% bounds, within [-span, span]."""
        half = quantile(BOUNDS[1], self.freedom) * self.error
        low, high = max(-self.span, self.center - half), min(self.span, self.center + half)
        return Interval(self.mean, min(self.mean, low), max(self.mean, high))

    def p_at_least(self, bound: float) -> float:
        """One-sided p-value of the hypothesis that the true difference is at least ``bound``."""
        return _cumulative((self.center - bound) / self.error, self.freedom)

    def p_at_most(self, bound: float) -> float:
        """One-sided p-value of the hypothesis that the true difference is at most ``bound``."""
        return _cumulative((bound - self.center) / self.error, self.freedom)


class _Evidence(NamedTuple):
    """How much a set of samples tells.

    Attributes:
        size: independent samples that would tell as much.
        freedom: degrees of freedom of what is known of their variance.
    """

    size: float
    freedom: float


def accuracy_interval(scores: Array, clusters: Sequence[str] | None = None) -> Interval:
    """Mean of scores in [0, 1] with its 95% interval (Agresti and Coull 1998), bounds within [0, 1].

    Args:
        scores: (n,) of the samples.
        clusters: (n,) the cluster of each sample; None where each is one of its own.

    Raises:
        DataError: there are no scores.
    """
    mean = _mean(scores)
    binary = mean * (1 - mean) * len(scores)
    evidence = _evidence(scores - mean, binary, clusters, plain=bool(np.isin(scores, (0, 1)).all()))
    reach = quantile(BOUNDS[1], evidence.freedom)
    size = evidence.size + reach**2
    center = (mean * evidence.size + reach**2 / 2) / size
    half = reach * math.sqrt(center * (1 - center) / size)
    return Interval(mean, min(mean, max(0.0, center - half)), max(mean, min(1.0, center + half)))


def paired_difference(differences: Array, clusters: Sequence[str] | None = None, *, span: float = 1.0) -> Difference:
    """Mean of paired differences, with an uncertainty that holds where few pairs differ (Bonett and Price 2012).

    Args:
        differences: (n,) one for each pair, each within [-span, span].
        clusters: (n,) the cluster of each pair; None where each is one of its own.
        span: the largest difference that there can be.

    Raises:
        DataError: there are no differences.
    """
    mean = _mean(differences)
    scaled = (differences - mean) / span
    spread = float(np.square(scaled).sum())
    evidence = _evidence(scaled, spread, clusters, plain=bool(np.isin(differences, (-span, 0, span)).all()))
    size = evidence.size + 2  # one pair that got better by the span, one that got worse
    center = mean / span * evidence.size / size
    square = (float(np.square(differences / span).mean()) * evidence.size + 2) / size
    error = math.sqrt((square - center**2) / size)
    return Difference(mean, span * center, span * error, evidence.freedom, span)


def mean_of_differences(differences: Sequence[Difference]) -> Difference:
    """Mean of independent differences; degrees of freedom after Welch and Satterthwaite.

    Args:
        differences: to average, at least one.
    """
    count = len(differences)
    squares = [one.error**2 for one in differences]
    freedom = (
        sum(squares) ** 2 / sum(square**2 / one.freedom for square, one in zip(squares, differences, strict=True))
        if any(math.isfinite(one.freedom) for one in differences)
        else math.inf
    )
    return Difference(
        math.fsum(one.mean for one in differences) / count,
        math.fsum(one.center for one in differences) / count,
        math.sqrt(sum(squares)) / count,
        freedom,
        max(one.span for one in differences),
    )


def mean_of_intervals(intervals: Sequence[Interval]) -> Interval:
    """Mean of independent estimates with its 95% interval, from theirs (MOVER, Zou and Donner 2008).

    Args:
        intervals: of the estimates, at least one.
    """
    count = len(intervals)
    mean = math.fsum(one.mean for one in intervals) / count
    below = math.hypot(*(one.mean - one.low for one in intervals)) / count
    above = math.hypot(*(one.high - one.mean for one in intervals)) / count
    return Interval(mean, mean - below, mean + above)


def difference_of_intervals(first: Interval, second: Interval) -> Interval:
    """First minus second of two independent estimates, with its 95% interval, from theirs (MOVER)."""
    mean = first.mean - second.mean
    low = mean - math.hypot(first.mean - first.low, second.high - second.mean)
    high = mean + math.hypot(first.high - first.mean, second.mean - second.low)
    return Interval(mean, low, high)


def median_ratio_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Median of the ratios second / first of measurements taken in pairs, with its 95% interval from their order.

    From six pairs on the bounds are the innermost two ratios between which the median lies in 95% of cases, whatever
    the distribution. The whole range of fewer covers less: 94% of five pairs, 88% of four, 75% of three.
    """
    ratios = np.sort(np.array(second) / np.array(first))
    n = len(ratios)
    outside, rank = 0.5**n, 0  # the chance that fewer than `rank + 1` of the ratios lie below the median
    while rank + 1 < n / 2 and outside + math.comb(n, rank + 1) * 0.5**n <= BOUNDS[0]:
        rank += 1
        outside += math.comb(n, rank) * 0.5**n
    return Interval(float(np.median(ratios)), float(ratios[rank]), float(ratios[n - 1 - rank]))


def resample_counts(size: int, clusters: Sequence[str] | None = None, seed: int = 0) -> Array:
    """How often each bootstrap resample holds each of ``size`` samples: (RESAMPLES, size); clusters come whole.

    Args:
        size: samples.
        clusters: (size,) the cluster of each sample; None where each is one of its own.
        seed: of the draws.
    """
    members = np.arange(size) if clusters is None else cluster_numbers(clusters)
    count = int(members.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    counts: Array = drawn.astype(float)[:, members]
    return counts


def percentile_interval(estimate: float, resampled: Array) -> Interval:
    """An estimate with the percentiles of its bootstrap resamples (RESAMPLES,)."""
    low, high = np.quantile(resampled, BOUNDS)
    return Interval(float(estimate), float(low), float(high))


def _mean(values: Array) -> float:
    if not len(values):
        raise DataError("no samples to average; at least one is needed")
    return float(values.mean())


def _evidence(deviations: Array, independent: float, clusters: Sequence[str] | None, *, plain: bool) -> _Evidence:
    """How much samples tell about their mean.

    Args:
        deviations: (n,) of the samples from their mean, in units of the largest that there can be.
        independent: sum of squares of the deviations that independent samples of the assumed distribution would have.
        clusters: (n,) the cluster of each.
        plain: whether the values follow that distribution if samples are independent, so that their variance is known
            from their mean and need not be estimated.
    """
    n = len(deviations)
    members = np.arange(n) if clusters is None else cluster_numbers(clusters)
    count = int(members.max()) + 1
    if count == n and plain:
        return _Evidence(n, math.inf)
    if count == 1:  # nothing tells how clusters differ
        return _Evidence(1.0, math.inf)
    sizes = np.bincount(members)
    between = np.square(np.bincount(members, deviations)).sum() * count / (count - 1)
    mean_size = np.square(sizes).sum() / n  # of the cluster that a sample is in
    effect = (between + _UNSEEN_CLUSTERS * mean_size**2) / (independent + _UNSEEN_CLUSTERS * mean_size)
    # Clusters that seem to differ less than chance would have them do not make samples tell more than they do alone.
    effect = max(effect, 1.0) if count < n else effect
    return _Evidence(n / effect, count - 1)


def quantile(probability: float, freedom: float = math.inf) -> float:
    """Quantile of Student's t distribution; of the normal one where the degrees of freedom are infinite.

    Raises:
        MissingDependencyError: scipy is not installed.
    """
    if math.isinf(freedom):
        return NormalDist().inv_cdf(probability)
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise missing_dependency(error) from error
    return float(stdtrit(freedom, probability))


def _cumulative(value: float, freedom: float) -> float:
    """Probability that Student's t, or a normal variable, is at most ``value``."""
    if math.isinf(freedom):
        return NormalDist().cdf(value)
    try:
        from scipy.special import stdtr
    except ImportError as error:
        raise missing_dependency(error) from error
    return float(stdtr(freedom, value))


def cluster_numbers(clusters: Sequence[str]) -> NDArray[np.int64]:
    """Clusters (n,) as numbers from 0 on; a sample whose cluster has no name is one of its own."""
    numbers = dict[object, int]()
    named = [numbers.setdefault(name or at, len(numbers)) for at, name in enumerate(clusters)]
    return np.array(named, np.int64)
