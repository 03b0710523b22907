"""Strided time, by cutting the line."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row
from .avg_pool import cuts


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """The mass-weighted mean of each run, at its middle."""
    runs = cuts(len(given.x), m)
    means = [np.average(given.x[a:b], axis=0, weights=given.mass[a:b]) for a, b in runs]
    return [(a + b - 1) // 2 for a, b in runs], np.stack(means)


_X = [[1.0], [3.0], [5.0], [7.0], [9.0], [11.0]]
ROW = Row(
    reference,
    (
        # k = 3 and k = 2: plain strides.
        Case(_X, 2, [1, 4], [[3.0], [9.0]]),
        Case(_X, 3, [0, 2, 4], [[2.0], [6.0], [10.0]]),
        # The first stands for three tokens: (3 x 1 + 3) / 4.
        Case(_X, 3, [0, 2, 4], [[1.5], [6.0], [10.0]], mass=[3.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ),
    conserves=True,
)
