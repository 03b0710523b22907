"""Average pooling, by cutting slices of slices."""

from __future__ import annotations

import itertools

import numpy as np

from ..kit import Array, Case, Given, Row


def cuts(size: int, parts: int) -> list[tuple[int, int]]:
    """Near-equal contiguous parts, the longer ones where the rounding up falls."""
    edges = [-(-k * size // parts) for k in range(parts + 1)]
    return list(itertools.pairwise(edges))


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Slabs of frames, bands of rows, boxes of columns; each box becomes its mean, at its centre."""
    frames, rows, columns = given.grid
    cells = given.x.reshape(frames, rows, columns, -1)
    slabs = min(frames, m)
    pooled: dict[int, Array] = {}
    for (t0, t1), (first, last) in zip(cuts(frames, slabs), cuts(m, slabs), strict=True):
        share = last - first
        wish = int(rows * np.sqrt(share / (rows * columns)) + 0.5)
        bands = min(max(wish, -(-share // columns)), rows, share)
        for (y0, y1), (low, high) in zip(cuts(rows, bands), cuts(share, bands), strict=True):
            for x0, x1 in cuts(columns, high - low):
                t, y, x = (t0 + t1 - 1) // 2, (y0 + y1 - 1) // 2, (x0 + x1 - 1) // 2
                pooled[(t * rows + y) * columns + x] = cells[t0:t1, y0:y1, x0:x1].mean((0, 1, 2))
    kept = sorted(pooled)
    return kept, np.stack([pooled[k] for k in kept])


_SQUARE = [[1.0], [3.0], [5.0], [7.0]]
ROW = Row(
    reference,
    (
        Case(_SQUARE, 1, [0], [[4.0]], grid=(1, 2, 2)),
        # Two frames of two: one survivor of each frame, since frames are kept apart as long as they can be.
        Case(_SQUARE, 2, [0, 2], [[2.0], [6.0]], grid=(2, 1, 2)),
        # A line in three: the part that the rounding up makes longer is the first.
        Case(_SQUARE, 3, [0, 2, 3], [[2.0], [5.0], [7.0]], grid=(4, 1, 1)),
    ),
    conserves=True,
)
