"""DASH's video step, segment by segment; frames begin a second apart."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine, top
from .speechprune import shares


def crowded(x: Array, neighbours: int) -> Array:
    """Mean cosine of each token to the most similar others."""
    out = np.zeros(len(x))
    for i in range(len(x)):
        near = sorted((cosine(x[i], x[j]) for j in range(len(x)) if j != i), reverse=True)[:neighbours]
        out[i] = float(np.mean(near)) if near else 0.0
    return out


def reference(given: Given, m: int) -> list[int]:
    """Segments at the breaks, a share for each, then frames by turns."""
    frames, rows, columns = given.grid
    cells = rows * columns
    x = given.x.reshape(frames, cells, -1)
    setting = {"threshold": 0.4, "seconds": 1.2, "guidance": 0.1, "neighbours": 5}
    setting |= {name: float(str(value)) for name, value in given.params.items()}
    lowest = given.scores["concurrent_cosine"].reshape(frames, cells).min(1)
    heard = given.scores["concurrent_retention"].reshape(frames, cells)
    cuts = [0]
    for t in range(1, frames):
        if lowest[t] < setting["threshold"] and t - cuts[-1] >= setting["seconds"]:
            cuts.append(t)
    first, weights = list[int](), list[float]()
    for begin, end in zip(cuts, [*cuts[1:], frames], strict=True):
        share = m / len(given.x) - setting["guidance"] * (0.5 - float(heard[begin:end].mean()))
        weights += [min(max(share, 0.05), 0.9)] * (end - begin)
        first += [begin] * (end - begin)
    kept: list[int] = []
    for t, count in enumerate(shares(weights, [cells] * frames, m)):
        if (t - first[t]) % 2 == 0:
            score = -crowded(x[t], int(setting["neighbours"]))
        else:
            score = np.array([1 - cosine(x[t, i], x[t - 1, i]) for i in range(cells)])
        kept += [t * cells + i for i in top(score, count)]
    return kept


# Three frames of four. In _FRAME the most similar other of 0 and 1 is near (0.995), of 2 it is 1 at 0.0995 (3 has
# 0.196), so its cosine is 0.196, of 3 it is 2. So 2 and 3 tie at 0.196 and come before 0 and 1. In _CHANGED against
# _FRAME 0 and 2 keep still, 1 changes by 0.90, 3 by 1.20.
_FRAME = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.2]]
_CHANGED = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0]]
# In _FRAME against _CHANGED the same two change, 3 by 1 + 0.2 / 1.02 = 1.196, 1 by 1 - 0.0995 = 0.90.
_X = _FRAME + _CHANGED + _FRAME
_KEPT = [1.0] * 12
_ONE = {"neighbours": 1}
ROW = Row(
    reference,
    (
        # No break: frame 2 is even. 4 of 12: 1.33 each, the remainder to frame 0.
        Case(
            _X,
            4,
            [2, 3, 7, 10],
            grid=(3, 2, 2),
            scores={"concurrent_cosine": [1.0] * 12, "concurrent_retention": _KEPT},
            params=_ONE,
        ),
        # A break in frame 1, a second after the last cut, comes too early; the one in frame 2 does not. It changes
        # nothing here but shares: frame 2 stands alone, its audio dropped: 4/12 - 0.05 = 0.283 to 0.383 twice, of 4 in
        # 1.05 that is 1.46, 1.46 and 1.08.
        Case(
            _X,
            4,
            [2, 3, 7, 10],
            grid=(3, 2, 2),
            scores={
                "concurrent_cosine": [1.0] * 4 + [0.0] * 4 + [0.3] * 4,
                "concurrent_retention": [1.0] * 8 + [0.0] * 4,
            },
            params=_ONE,
        ),
        # With no least length, frame 1 begins a segment, so it is even and frame 2 is odd: of _CHANGED, 1 and 2 are
        # alike, 0 has cosine 0 and 3 too; of frame 2 against it, 3 has changed most. 5 of 12: 1.67 each.
        Case(
            _X,
            5,
            [2, 3, 4, 7, 11],
            grid=(3, 2, 2),
            scores={"concurrent_cosine": [1.0] * 4 + [0.0] * 4 + [1.0] * 4, "concurrent_retention": _KEPT},
            params={"neighbours": 1, "seconds": 0.0},
        ),
    ),
    params=({}, {"threshold": 1.0, "seconds": 0.0}, {"seconds": 3.0, "guidance": 1.0, "neighbours": 1}),
    exact_flops=False,
)
