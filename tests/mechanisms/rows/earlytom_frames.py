"""EarlyTom in the tower, pair by pair of frames."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine
from .earlytom import windows


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Inner pairs of frames first, the most alike first, then other pairs; places of a frame by their likeness."""
    x, n, area = given.x, len(given.x), given.grid[1] * given.grid[2]
    inner = [t for window in windows(given) for t in window[1:-1]]
    key: dict[int, tuple[float, float, float, int]] = {}
    for i in range(1, n):
        t = i // area
        if t == 0:
            key[i] = (2.0, 0.0, -cosine(x[i], x[i - 1]), i)
            continue
        like = float(np.mean([cosine(x[t * area + p], x[(t - 1) * area + p]) for p in range(area)]))
        key[i] = (float(not (t in inner and t - 1 in inner)), -like, -cosine(x[i], x[i - area]), i)
    joined = set(sorted(key, key=lambda i: key[i])[: n - m])
    groups: dict[int, list[int]] = {}
    for i in range(n):
        root = i
        while root in joined:
            root -= area if root >= area else 1
        groups.setdefault(root, []).append(i)
    return sorted(groups), np.array([x[groups[i]].mean(axis=0) for i in sorted(groups)])


# Five frames of two places, one window: frames 1, 2 and 3 are inner. Place 0 is always alike (cosine 1), place 1 turns
# by 0.8 from frame 1 to 2 and by 0.96 from 2 to 3. So tokens 6 and 7 of frame 3 join frame 2 first, then 4 joins 2.
_X = [[1.0, 0], [1.0, 0], [1.0, 0], [1.0, 0], [1.0, 0], [0.8, 0.6], [3.0, 0], [0.6, 0.8], [1.0, 0], [0.6, 0.8]]
_ALL = {"threshold": -1.0, "longest": 9}
ROW = Row(
    reference,
    (
        Case(
            _X,
            8,
            [0, 1, 2, 3, 4, 5, 8, 9],
            [*_X[:4], [2, 0], [0.7, 0.7], *_X[8:]],
            (5, 1, 2),
            params=_ALL,
        ),
        Case(
            _X,
            7,
            [0, 1, 2, 3, 5, 8, 9],
            [_X[0], _X[1], [5 / 3, 0], _X[3], [0.7, 0.7], _X[8], _X[9]],
            (5, 1, 2),
            params=_ALL,
        ),
        # Windows end before their second frame: no frame is inner. 1 joins 0 and 4 joins 3; the earlier first.
        Case(_X, 8, [0, 1, 4, 5, 6, 7, 8, 9], [*_X[:2], *_X[4:]], (5, 1, 2), params={"longest": 2}),
    ),
    conserves=True,
    params=({}, {"threshold": -0.5}, {"threshold": -1.0, "longest": 4}),
)
