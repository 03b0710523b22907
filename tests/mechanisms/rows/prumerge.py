"""PruMerge, survivor by survivor."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Chosen tokens plus the weighted sum of their nearest others; then the weighted sum of all not chosen."""
    x, attention, keys, n = given.x, given.scores["cls_attention"], given.scores["keys"], len(given.x)
    share = float(str(given.params.get("spatial_share", 0.0)))
    neighbours = int(str(given.params.get("neighbours", 32)))
    if given.params.get("adaptive"):
        low, high = np.percentile(attention, 25), np.percentile(attention, 75)
        outliers = max(1, sum(value > high + 1.5 * (high - low) for value in attention))
        m = min(m, math.floor(outliers / (1 - share) + 0.5) + 1)
    if m == n:
        return list(range(n)), x
    pooled = m > 1
    centres = m - 1 if pooled else 1
    spaced = min(math.floor(centres * share + 0.5), centres - 1)
    by_attention = sorted(range(n), key=lambda i: (-attention[i], i))
    chosen = by_attention[: centres - spaced]
    others = sorted(by_attention[centres - spaced :])
    chosen += [others[math.ceil(i * len(others) / spaced)] for i in range(spaced)]
    survivors = {}
    for i in chosen:
        near = sorted((j for j in range(n) if j != i), key=lambda j: (-cosine(keys[i], keys[j]), j))[:neighbours]
        survivors[i] = x[i] + sum((attention[j] * x[j] for j in near), np.zeros_like(x[i]))
    if pooled:
        rest = [i for i in by_attention if i not in chosen]
        survivors[rest[0]] = sum((attention[j] * x[j] for j in rest), np.zeros_like(x[0]))
    kept = sorted(survivors)
    return kept, np.stack([survivors[i] for i in kept])


# Of a budget of 2, one survivor is the most attended token, 0, with its nearest by key, 2: 1 + 0.2 x 100. The other
# pools all but 0 where the best of them, 3, stood: 0.1 x 10 + 0.2 x 100 + 0.25 x 1000. A budget of 1 leaves it out.
_X = [[1.0], [10.0], [100.0], [1000.0]]
_SCORES = {
    "cls_attention": [0.5, 0.1, 0.2, 0.25],
    "keys": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [-1.0, 0.0]],
}
# One outlier among eight, and one more survivor for the rest: the fence sets 2 of a budget of 5.
_OUTLIER = {"cls_attention": [0.125] * 4 + [1.0] + [0.125] * 3, "keys": [[1.0]] * 8}
# Half of 4 centres evenly spaced: 0 and 1 by attention, then the first and the middle of what is left; 7 pools.
_SPACED = {"cls_attention": [0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], "keys": [[1.0]] * 8}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 3], [[21.0], [271.0]], scores=_SCORES, params={"neighbours": 1}),
        Case(_X, 1, [0], [[21.0]], scores=_SCORES, params={"neighbours": 1}),
        Case([[8.0]] * 8, 5, [0, 4], [[7.0], [8.0]], scores=_OUTLIER, params={"adaptive": True, "neighbours": 0}),
        Case(
            [[1.0]] * 8,
            5,
            [0, 1, 2, 5, 7],
            [[1.0], [1.0], [1.0], [1.0], [0.1 + 0.1 + 0.1 + 0.2]],
            scores=_SPACED,
            params={"spatial_share": 0.5, "neighbours": 0},
        ),
    ),
    averages=False,
    exact_flops=False,
    params=({}, {"spatial_share": 0.75, "neighbours": 3}, {"adaptive": True}),
)
