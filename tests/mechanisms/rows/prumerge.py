"""PruMerge, survivor by survivor."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Chosen tokens plus the weighted sum of their nearest others; then the weighted sum of all not chosen."""
    x, attention, n = given.x, given.scores["cls_attention"], len(given.x)
    share = float(str(given.params.get("spatial_share", 0.0)))
    if given.params.get("adaptive"):
        low, high = np.percentile(attention, 25), np.percentile(attention, 75)
        outliers = max(1, sum(value > high + 1.5 * (high - low) for value in attention))
        chosen = sorted(range(n), key=lambda i: (-attention[i], i))[:outliers]
        if share:
            step = max(1, int((n // outliers) / (share / (1 - share))))
            chosen += [i for i in range(0, n - 1, step) if i not in chosen]
        if len(chosen) < min(m, n - 1):
            return merged(given, chosen, True)
    if m == n:
        return list(range(n)), x
    pooled = m > 1
    centres = m - 1 if pooled else 1
    spaced = min(math.floor(centres * share + 0.5), centres - 1)
    by_attention = sorted(range(n), key=lambda i: (-attention[i], i))
    chosen = by_attention[: centres - spaced]
    others = sorted(by_attention[centres - spaced :])
    chosen += [others[math.ceil(i * len(others) / spaced)] for i in range(spaced)]
    return merged(given, chosen, pooled)


def merged(given: Given, chosen: list[int], pooled: bool) -> tuple[list[int], Array]:
    """Each chosen token with its nearest; all others in one more survivor where ``pooled``."""
    x, attention, keys, n = given.x, given.scores["cls_attention"], given.scores["keys"], len(given.x)
    neighbours = int(str(given.params.get("neighbours", 32)))
    survivors = {}
    for i in chosen:
        near = sorted((j for j in range(n) if j != i), key=lambda j: (-cosine(keys[i], keys[j]), j))[:neighbours]
        survivors[i] = x[i] + sum((attention[j] * x[j] for j in near), np.zeros_like(x[i]))
    if pooled:
        rest = sorted((i for i in range(n) if i not in chosen), key=lambda i: (-attention[i], i))
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
# One outlier among eleven, 4, and every third of them, 11 / 1 / 3 cut to a whole number: 0, 3, 6 and 9. Token 1 pools
# the five that are left.
_STEPS = {"cls_attention": [0.125] * 4 + [1.0] + [0.125] * 6, "keys": [[1.0]] * 11}
# Half of 4 centres evenly spaced: 0 and 1 by attention, then the first and the middle of what is left; 7 pools.
_SPACED = {"cls_attention": [0.9, 0.8, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], "keys": [[1.0]] * 8}
ROW = Row(
    reference,
    (
        Case(_X, 2, [0, 3], [[21.0], [271.0]], scores=_SCORES, params={"neighbours": 1}),
        Case(_X, 1, [0], [[21.0]], scores=_SCORES, params={"neighbours": 1}),
        Case([[8.0]] * 8, 5, [0, 4], [[7.0], [8.0]], scores=_OUTLIER, params={"adaptive": True, "neighbours": 0}),
        Case(
            [[8.0]] * 11,
            8,
            [0, 1, 3, 4, 6, 9],
            [[8.0], [6.0], [8.0], [8.0], [8.0], [8.0]],
            scores=_STEPS,
            params={"adaptive": True, "neighbours": 0, "spatial_share": 0.75},
        ),
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
    params=(
        {},
        {"spatial_share": 0.75, "neighbours": 3},
        {"adaptive": True},
        {"adaptive": True, "spatial_share": 0.75},
    ),
)
