"""The truncated cosine transform, coefficient by coefficient."""

from __future__ import annotations

from fractions import Fraction
from math import cos, pi, sqrt

import numpy as np

from ..kit import Array, Case, Given, Row
from .avg_pool import cuts


def smoothed(cells: Array, share: int) -> list[tuple[int, int, Array]]:
    """Low-pass one frame (rows, columns, D) to ``share`` waves; places and values at the boxes' centres."""
    rows, columns, _ = cells.shape
    waves = [(u, v) for u in range(rows) for v in range(columns)]
    waves.sort(key=lambda w: (Fraction(w[0], rows) ** 2 + Fraction(w[1], columns) ** 2, w))
    spectrum = []
    for u, v in waves[:share]:
        norm = sqrt((2 if u else 1) / rows) * sqrt((2 if v else 1) / columns)
        total = sum(
            cells[y, x] * cos(pi * u * (2 * y + 1) / (2 * rows)) * cos(pi * v * (2 * x + 1) / (2 * columns))
            for y in range(rows)
            for x in range(columns)
        )
        spectrum.append((u, v, norm, norm * total))
    out = []
    bands = min(max(int(rows * sqrt(share / (rows * columns)) + 0.5), -(-share // columns)), rows, share)
    for (y0, y1), (low, high) in zip(cuts(rows, bands), cuts(share, bands), strict=True):
        for x0, x1 in cuts(columns, high - low):
            y, x = (y0 + y1) / 2, (x0 + x1) / 2
            value = sum(n * c * cos(pi * u * y / rows) * cos(pi * v * x / columns) for u, v, n, c in spectrum)
            out.append(((y0 + y1 - 1) // 2, (x0 + x1 - 1) // 2, np.asarray(value)))
    return out


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Each slab of frames is averaged over time, then smoothed."""
    frames, rows, columns = given.grid
    cells = given.x.reshape(frames, rows, columns, -1)
    slabs = min(frames, m)
    found: dict[int, Array] = {}
    for (t0, t1), (first, last) in zip(cuts(frames, slabs), cuts(m, slabs), strict=True):
        for y, x, value in smoothed(cells[t0:t1].mean(0), last - first):
            found[(((t0 + t1 - 1) // 2) * rows + y) * columns + x] = value
    return sorted(found), np.stack([found[k] for k in sorted(found)])


# A line of four at angles pi/8, 3pi/8, ...; the second wave is sqrt(2/4) cos. Two waves of [1, 0, 0, 0] leave the mean
# 1/4 plus (2/4) cos(pi/8) cos(pi x), read at the centres of two halves, pi/4 and 3pi/4: the crop of a DCT to length 2
# and back, but for the scale.
_WAVE = 0.5 * cos(pi / 8) * cos(pi / 4)
_X = [[1.0], [0.0], [0.0], [0.0]]
ROW = Row(
    reference,
    (
        Case(_X, 1, [1], [[0.25]], grid=(1, 1, 4)),
        Case(_X, 2, [0, 2], [[0.25 + _WAVE], [0.25 - _WAVE]], grid=(1, 1, 4)),
        # Two frames: each gets its mean; with three, the first frame stays whole.
        Case(_X, 2, [0, 2], [[0.5], [0.0]], grid=(2, 1, 2)),
        Case(_X, 3, [0, 1, 2], [[1.0], [0.0], [0.0]], grid=(2, 1, 2)),
    ),
)
