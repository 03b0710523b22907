"""EarlyTom behind the tower, frame by frame."""

from __future__ import annotations

import numpy as np

from ..kit import Case, Given, Row, cosine, top
from .hired import shared_out


def windows(given: Given) -> list[list[int]]:
    """Runs of frames that stay like their first."""
    area = given.grid[1] * given.grid[2]
    threshold, longest = float(str(given.params.get("threshold", 0.5))), int(str(given.params.get("longest", 6)))
    out, running = [[0]], 1.0
    for t in range(1, given.grid[0]):
        start = out[-1][0]
        like = np.mean([cosine(given.x[start * area + p], given.x[t * area + p]) for p in range(area)])
        running = 0.9 * float(like) + 0.1 * running
        if running < threshold or t - start + 1 >= longest:
            out.append([t])
            running = 1.0
        else:
            out[-1].append(t)
    return out


def reference(given: Given, m: int) -> list[int]:
    """Outer frames by attention; inner ones strip by strip."""
    frames, area = given.grid[0], given.grid[1] * given.grid[2]
    count = shared_out(m, [1.0] * frames, [area] * frames)
    kept: list[int] = []
    for window in windows(given):
        for t in window:
            attention = given.scores["received_attention"][t * area : (t + 1) * area]
            if t in (window[0], window[-1]):
                kept += [t * area + i for i in top(attention, count[t])]
            elif count[t]:
                for strip in np.array_split(np.arange(area), count[t]):
                    kept.append(t * area + int(strip[attention[strip].argmax()]))
    return sorted(kept)


# Three frames alike are one window. Two tokens each: the outer frames' most attended, 0 and 1, 10 and 11; of the inner
# one the most attended of tokens 4 and 5, and of 6 and 7. Windows end before their second frame: each has one.
_X = [[1.0, 0.0]] * 12
_SEEN = {"received_attention": [0.4, 0.3, 0.2, 0.1, 0.4, 0.3, 0.1, 0.2, 0.1, 0.2, 0.3, 0.4]}
ROW = Row(
    reference,
    (
        Case(_X, 6, [0, 1, 4, 7, 10, 11], None, (3, 1, 4), _SEEN),
        Case(_X, 6, [0, 1, 4, 5, 10, 11], None, (3, 1, 4), _SEEN, params={"longest": 2}),
        # Shares of 2, 2 and 1: the inner frame's strips stay, the last keeps its most attended.
        Case(_X, 5, [0, 1, 4, 7, 11], None, (3, 1, 4), _SEEN),
    ),
    params=({}, {"threshold": -0.5}, {"threshold": -1.0, "longest": 4}),
)
