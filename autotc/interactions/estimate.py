"""The interaction of two stages, from per-sample scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autotc.errors import DataError
from autotc.statistics import (
    Array,
    Interval,
    cluster_numbers,
    paired_difference,
    percentile_interval,
    resample_counts,
)

FOLDS = 5
"""Parts of the samples in the choice of the better single stage; no multiple of the embedded benchmark's tasks, which
are asked in turn."""


def interaction(stack: Array, alone: Sequence[Array], clusters: Sequence[str] | None = None) -> Interval:
    """Accuracy of a stack minus that of the better single stage, with its paired 95% interval.

    The better of two measured means is too good on average, by as much as their noise, and a stack that is as good as
    both would seem to conflict. So the better one is chosen on four fifths of the samples and compared on the fifth
    that had no part in the choice, in turn; where one is clearly better the choice is always the same and this is the
    plain paired difference. The interval is of a bootstrap over clusters within which the choice is made anew, and on
    either side no narrower than that of the paired difference itself, which holds where few samples differ.

    Args:
        stack: (n,) scores of the samples, sample i being the same everywhere.
        alone: one or two of the same, of single stages at the stack's cost.
        clusters: (n,) the cluster of each sample; None where each is one of its own.

    Raises:
        DataError: there are fewer than 2 samples, or not equally many of each.
    """
    n = len(stack)
    if n < 2 or not alone or any(len(one) != n for one in alone):
        raise DataError(
            f"{n} samples of the stack, {[len(one) for one in alone]} of single stages given; at least 2, equally many,"
            " are needed to compare them in pairs"
        )
    members = np.arange(n) if clusters is None else cluster_numbers(clusters)
    fold = members % min(FOLDS, int(members.max()) + 1)
    chosen = _chosen(np.ones((1, n)), alone, fold)[0]
    differences = stack - np.stack(alone)[chosen[fold], np.arange(n)]
    resampled = resample_counts(n, clusters)
    choices = _chosen(resampled, alone, fold)
    drawn = percentile_interval(float(differences.mean()), _cross_fitted(resampled, stack, alone, fold, choices))
    paired = paired_difference(differences, clusters).interval()
    return Interval(drawn.mean, min(drawn.low, paired.low), max(drawn.high, paired.high))


def _chosen(counts: Array, alone: Sequence[Array], fold: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which single stage is better outside each fold (resamples, folds), given how often samples are drawn."""
    sums = np.stack([counts @ one for one in alone])
    size = counts.sum(1)
    choices = []
    for f in range(int(fold.max()) + 1):
        weights = counts[:, fold == f]
        inside = np.stack([weights @ one[fold == f] for one in alone])
        # Means over the other folds; folds of clusters differ in size. A resample may lie in one fold whole.
        outside = (sums - inside) / np.maximum(size - weights.sum(1), 1.0)
        choices.append(outside.argmax(0))
    return np.stack(choices, 1)


def _cross_fitted(
    counts: Array, stack: Array, alone: Sequence[Array], fold: NDArray[np.int64], choices: NDArray[np.int64]
) -> Array:
    """The cross-fitted difference of each resample (resamples,)."""
    total = np.zeros(len(counts))
    for f in range(choices.shape[1]):
        weights = counts[:, fold == f]
        inside = np.stack([weights @ one[fold == f] for one in alone])
        total += weights @ stack[fold == f] - inside[choices[:, f], np.arange(len(counts))]
    difference: Array = total / counts.sum(1)
    return difference


def additive(stack: Array, first: Array, second: Array, none: Array, clusters: Sequence[str] | None = None) -> Interval:
    """acc(AB) - acc(A) - acc(B) + acc(none), A and B alone at the ratios they have in the stack; paired interval."""
    return paired_difference(stack - first - second + none, clusters, span=2.0).interval()
