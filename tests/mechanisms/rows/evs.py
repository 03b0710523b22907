"""EVS, place by place."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine, top


def reference(given: Given, m: int) -> list[int]:
    """The most changed since the previous frame; the first frame ranks above all."""
    frames = given.x.reshape(given.grid[0], -1, given.x.shape[1])
    score = np.full(frames.shape[:2], np.inf)
    for t in range(1, len(frames)):
        for p in range(frames.shape[1]):
            score[t, p] = 1 - cosine(frames[t, p], frames[t - 1, p])
    return top(score.reshape(-1), m)


# Two places, three frames; only place 1 of frame 2 turns round.
_X = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.0, -1.0]]
ROW = Row(
    reference,
    (
        Case(_X, 3, [0, 1, 5], grid=(3, 1, 2)),
        Case(_X, 4, [0, 1, 4, 5], grid=(3, 1, 2)),
        Case(_X, 1, [0], grid=(3, 1, 2)),
    ),
)
