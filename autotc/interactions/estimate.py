"""The interaction of two stages, from per-sample scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotc.errors import DataError
from autotc.statistics import Array, Interval, mean_interval, percentile_interval, resample_counts

FOLDS = 5
"""Parts of the samples in the choice of the better single stage; no multiple of the embedded benchmark's tasks, which
are asked in turn."""


def interaction(stack: Array, alone: Sequence[Array]) -> Interval:
    """Accuracy of a stack minus that of the better single stage, with its paired 95% interval.

    The better of two measured means is too good on average, by as much as their noise, and a stack that is as good as
    both would seem to conflict. So the better one is chosen on four fifths of the samples and compared on the fifth
    that had no part in the choice, in turn; where one is clearly better the choice is always the same and this is the
    plain paired difference. The interval is of a bootstrap over samples within which the choice is made anew.

    Args:
        stack: (n,) scores of the samples, sample i being the same everywhere.
        alone: one or two of the same, of single stages at the stack's cost.

    Raises:
        DataError: there are fewer than 2 samples, or not equally many of each.
    """
    n = len(stack)
    if n < 2 or not alone or any(len(one) != n for one in alone):
        raise DataError(
            f"{n} samples of the stack, {[len(one) for one in alone]} of single stages given; at least 2, equally many,"
            " are needed to compare them in pairs"
        )
    estimate = float(_cross_fitted(np.ones((1, n)), stack, alone)[0])
    return percentile_interval(estimate, _cross_fitted(resample_counts(n), stack, alone))


def _cross_fitted(counts: Array, stack: Array, alone: Sequence[Array]) -> Array:
    """The cross-fitted difference of each resample, given how often it holds each sample (resamples, n)."""
    n = len(stack)
    folds = min(FOLDS, n)
    fold = np.arange(n) % folds
    total = np.zeros(len(counts))
    sums = np.stack([counts @ one for one in alone])
    size = counts.sum(1)
    for f in range(folds):
        weights = counts[:, fold == f]
        inside = np.stack([weights @ one[fold == f] for one in alone])
        # Means over the other folds; all have one size, so sums would do but for a fold that holds every sample.
        outside = (sums - inside) / np.maximum(size - weights.sum(1), 1.0)
        chosen = outside.argmax(0)
        total += weights @ stack[fold == f] - inside[chosen, np.arange(len(counts))]
    difference: Array = total / size
    return difference


def additive(stack: Array, first: Array, second: Array, none: Array) -> Interval:
    """acc(AB) - acc(A) - acc(B) + acc(none), A and B alone at the ratios they have in the stack; paired interval."""
    return mean_interval(stack - first - second + none)
