"""VidCom2, frame by frame as the official functions go."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row


def _closeness(point: Array, centre: Array) -> float:
    return sum(float(np.exp(-np.sum((point - centre) ** 2) / (2 * 2.0**k))) for k in range(-3, 2))


def reference(given: Given, m: int) -> list[int]:
    """Low-variance channels, two centres, softmax shares, rounding; then topped up or cut by score."""
    frames, height, width = given.grid
    area, n = height * width, len(given.x)
    variance = given.x.var(axis=0)
    channels = sorted(range(len(variance)), key=lambda c: variance[c])[: len(variance) // 2]
    x = np.array([row[channels] / np.linalg.norm(row[channels]) for row in given.x])
    blocks = [list(range(t * area, (t + 1) * area)) for t in range(frames)]
    video = [_closeness(point, x.mean(axis=0)) for point in x]
    score = np.zeros(n)
    for block in blocks:
        for i in block:
            score[i] = -video[i] - _closeness(x[i], x[block].mean(axis=0))
    distinct = np.array([-np.mean([video[i] for i in block]) for block in blocks])
    share = np.exp((distinct - distinct.max()) / 0.01)
    share = share / share.sum()
    kept: list[int] = []
    for t, block in enumerate(blocks):
        count = min(area, max(1, round(round(m * area / n * (1 + share[t] - 1 / frames), 6))))
        kept += sorted(block, key=lambda i: -score[i])[:count]
    kept = sorted(kept, key=lambda i: -score[i])[:m]
    rest = sorted(set(range(n)) - set(kept), key=lambda i: -score[i])
    return sorted(kept + rest[: m - len(kept)])


# The second half of the channels varies most and is not looked at. Frame 0 holds three tokens (1, 0) and one (0, 1),
# frame 1 holds four (1, 0): the odd token is furthest from both centres, and frame 0 the more distinct frame. Budget 2
# of 8: frame 0 gets 4 x 2 / 8 x (1 + 1 - 1/2) = 1.5, which rounds to 2 (to even), frame 1 gets 0.5, which rounds to 0
# and is raised to 1. That is one too many, and the least distinct of the three goes: of frame 1, whose tokens lie at
# their frame's centre. In frame 0 the first of the equal ones stays.
_A, _B = [1.0, 0.0], [0.0, 1.0]
_WILD = [[9.0, -9.0], [-9.0, 9.0], [9.0, 9.0], [-9.0, -9.0], [9.0, -9.0], [-9.0, 9.0], [9.0, 9.0], [-9.0, -9.0]]
_X = [seen + wild for seen, wild in zip([_A, _A, _A, _B, _A, _A, _A, _A], _WILD, strict=True)]
ROW = Row(
    reference,
    (
        Case(_X, 1, [3], grid=(2, 2, 2)),
        Case(_X, 2, [0, 3], grid=(2, 2, 2)),
        Case(_X, 3, [0, 3, 4], grid=(2, 2, 2)),
    ),
    permutes=True,
)
