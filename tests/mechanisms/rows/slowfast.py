"""SlowFast, by splitting the video in two and pooling each part."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..kit import Array, Case, Given, Row
from .avg_pool import reference as pooled


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Two lists of frames, two budgets, two pools; put together in order of position."""
    frames, rows, columns = given.grid
    cells = rows * columns
    slow_count = min(max(int(frames * float(str(given.params.get("slow_frames", 0.2))) + 0.5), 1), frames)
    slow = [i * frames // slow_count for i in range(slow_count)]
    fast = [t for t in range(frames) if t not in slow]
    first = min(int(m * float(str(given.params.get("slow_share", 2880 / 3680))) + 0.5), len(slow) * cells)
    first = max(first, m - len(fast) * cells)
    found: dict[int, Array] = {}
    for path, budget in ((slow, first), (fast, m - first)):
        if budget:
            own = [t * cells + i for t in path for i in range(cells)]
            part = dataclasses.replace(given, x=given.x[own], grid=(len(path), rows, columns))
            kept, features = pooled(part, budget)
            found.update({own[k]: features[i] for i, k in enumerate(kept)})
    return sorted(found), np.stack([found[k] for k in sorted(found)])


# Five frames of two; a fifth of the frames is slow: frame 0. Of 6 survivors it should get 4.7, but has 2; the fast
# frames share the other 4, one each, at the first of two columns.
_X = [[float(i)] for i in range(10)]
ROW = Row(
    reference,
    (
        Case(_X, 6, [0, 1, 2, 4, 6, 8], [[0.0], [1.0], [2.5], [4.5], [6.5], [8.5]], grid=(5, 1, 2)),
        # Of 4 survivors, half: frame 0 keeps its two tokens; the fast frames are joined two by two.
        Case(_X, 4, [0, 1, 2, 6], [[0.0], [1.0], [3.5], [7.5]], grid=(5, 1, 2), params={"slow_share": 0.5}),
        # Two slow frames of five: floor(0 x 5 / 2) = 0 and floor(1 x 5 / 2) = 2. They get 4 of 7, the others 3 of 6.
        Case(
            _X,
            7,
            [0, 1, 2, 4, 5, 6, 8],
            [[0.0], [1.0], [2.5], [4.0], [5.0], [6.5], [8.5]],
            grid=(5, 1, 2),
            params={"slow_frames": 0.4, "slow_share": 0.5},
        ),
    ),
    params=({}, {"slow_frames": 0.5, "slow_share": 0.5}, {"slow_frames": 0.3, "slow_share": 0.0}),
)
