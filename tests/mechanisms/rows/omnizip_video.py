"""OmniZip's video step, frame by frame."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top
from .speechprune import shares


def peaks(x: Array, neighbours: int) -> Array:
    """Density x distance to the nearest denser token, on cosine distances that are not squared."""
    n = len(x)
    distance = np.array([[1 - cosine(a, b) for b in x] for a in x])
    density = np.empty(n)
    for i in range(n):
        near = sorted(distance[i, j] for j in range(n) if j != i)[:neighbours]
        density[i] = np.exp(-np.mean(near)) if near else 1.0
    out = np.empty(n)
    for i in range(n):
        denser = [distance[i, j] for j in range(n) if density[j] > density[i]]
        out[i] = density[i] * (min(denser) if denser else max(distance[i]))
    return out


def reference(given: Given, m: int) -> list[int]:
    """Windows' shares by retention; in each window peaks and changes by turns."""
    frames, rows, columns = given.grid
    cells = rows * columns
    x = given.x.reshape(frames, cells, -1)
    retention = given.scores["concurrent_retention"].reshape(frames, cells)
    window = int(str(given.params.get("window", 2)))
    weights = [
        1 - (0.75 - 0.4 * float(retention[t // window * window : t // window * window + window].mean()))
        for t in range(frames)
    ]
    kept: list[int] = []
    for t, share in enumerate(shares(weights, [cells] * frames, m)):
        if t % window % 2 == 0:
            score = peaks(x[t], 5)
        else:
            score = np.array([1 - cosine(x[t, i], x[t - 1, i]) for i in range(cells)])
        kept += [t * cells + i for i in top(score, share)]
    return kept


# Two windows of two frames of four. With the audio kept in the first and dropped in the second, they drop 0.35 and
# 0.75, so frames weigh 0.65 and 0.25: of 7 survivors 2.53, 2.53, 0.97 and 0.97. Largest remainders go to the second
# window, then to frame 0: 3, 2, 1 and 1.
_FRAME = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.2]]
_CHANGED = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0]]
_HEARD = [1.0] * 8 + [0.0] * 8
# Cosine distances in _FRAME: 0-1 0.005, 0-2 1, 0-3 1.98, 1-2 0.90, 1-3 1.96, 2-3 0.80; means over the three others:
# 0.995, 0.954, 0.901, 1.580. So 2 is the peak (separation 1); 1 has 0.90 (from 2), 3 has 0.80 (from 2), 0 has 0.005
# (from 1). Times densities 0.406, 0.385, 0.206 and 0.370: 2, then 1, then 3, then 0.
# In _CHANGED against _FRAME: 0 and 2 keep still, 1 has 0.90, 3 has 1.20: 3, then 1.
ROW = Row(
    reference,
    (
        Case(
            _FRAME + _CHANGED + _FRAME + _CHANGED,
            7,
            [1, 2, 3, 5, 7, 10, 15],
            grid=(4, 2, 2),
            scores={"concurrent_retention": _HEARD},
        ),
        # Without audio in the request nothing was dropped: all frames share alike.
        Case(
            _FRAME + _CHANGED + _FRAME + _CHANGED,
            8,
            [1, 2, 5, 7, 9, 10, 13, 15],
            grid=(4, 2, 2),
            scores={"concurrent_retention": [1.0] * 16},
        ),
    ),
    params=({}, {"window": 4}, {"window": 1}, {"window": 3}),
)
