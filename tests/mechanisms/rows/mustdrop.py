"""MustDrop's merge, window by window."""

from __future__ import annotations

import math

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Merge token after token, window after window."""
    x, n = given.x, len(given.x)
    side = int(str(given.params.get("window", 3)))
    attention = given.scores["cls_attention"]
    keys = top(attention, math.ceil(float(str(given.params.get("key_share", 0.08))) * n - 1e-9))
    windows: dict[tuple[int, int, int], list[int]] = {}
    for i, (t, y, z) in enumerate(given.places.tolist()):
        if i not in keys:
            windows.setdefault((t, y // side, z // side), []).append(i)
    alike = {}
    for at, members in windows.items():
        pairs = [cosine(x[i], x[j]) for i in members for j in members if i != j]
        alike[at] = sum(pairs) / len(pairs) if pairs else 0.0
    movable = [(-alike[at], i, members[-1]) for at, members in windows.items() for i in members[:-1]]
    leaving = n - m
    if given.params.get("adaptive"):
        threshold = float(str(given.params.get("similarity_threshold", 0.8)))
        leaving = max(leaving, sum(-value >= threshold for value, _, _ in movable))
    into = {i: sink for _, i, sink in sorted(movable)[:leaving]}
    left = [i for i in range(n) if i not in into]
    kept = sorted(sorted(left, key=lambda i: (-attention[i], i))[:m])
    groups = [[k, *(i for i, sink in into.items() if sink == k)] for k in kept]
    return kept, np.stack([np.average(x[g], axis=0, weights=given.mass[g]) for g in groups])


# Two windows of 2 x 2 side by side. The left is (1, 0), (1, 0), (1, 0), (0, 1): mean cosine 6 / 12 = 0.5; the right is
# four of (0, 1), (0, 2), ...: 1. One key token (a tenth of eight, rounded up): 3, the top right, which stays as it is.
_X = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 9.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]
_GIVEN = {"window": 2, "key_share": 0.1}
_CLS = {"cls_attention": [0.1, 0.2, 0.3, 0.9, 0.4, 0.5, 0.6, 0.7]}
ROW = Row(
    reference,
    (
        # The right window is 2, 6, 7 without the key: they become (0, 2) at 7.
        Case(
            _X,
            6,
            [0, 1, 3, 4, 5, 7],
            [[1, 0], [1, 0], [0, 9], [1, 0], [0, 1], [0, 2]],
            grid=(1, 2, 4),
            scores=_CLS,
            params=_GIVEN,
        ),
        # In part: token 2 alone flows into 7, the mean of (0, 1) and (0, 3).
        Case(
            _X,
            7,
            [0, 1, 3, 4, 5, 6, 7],
            [[1, 0], [1, 0], [0, 9], [1, 0], [0, 1], [0, 2], [0, 2]],
            grid=(1, 2, 4),
            scores=_CLS,
            params=_GIVEN,
        ),
        # Both windows: 0, 1, 4, 5 become (0.75, 0.25) at 5.
        Case(_X, 3, [3, 5, 7], [[0, 9], [0.75, 0.25], [0, 2]], grid=(1, 2, 4), scores=_CLS, params=_GIVEN),
        # Beyond that, the least attended goes: 5 has 0.5, 7 has 0.7, 3 has 0.9.
        Case(_X, 2, [3, 7], [[0, 9], [0, 2]], grid=(1, 2, 4), scores=_CLS, params=_GIVEN),
        # The published threshold of 0.8 merges the right window alone.
        Case(
            _X,
            8,
            [0, 1, 3, 4, 5, 7],
            [[1, 0], [1, 0], [0, 9], [1, 0], [0, 1], [0, 2]],
            grid=(1, 2, 4),
            scores=_CLS,
            params={**_GIVEN, "adaptive": True},
        ),
    ),
    params=({}, {"window": 2, "key_share": 0.2}, {"adaptive": True, "similarity_threshold": 0.05}),
)
