"""AIM's merge, frame by frame."""

from __future__ import annotations

import numpy as np

from ..kit import Array, Case, Given, Row, cosine


def match(x: Array, groups: list[list[int]], m: int) -> list[list[int]]:
    """Rounds of matching between groups in even and in odd places; a group's last token gives it its place."""
    while len(groups) > m:
        mean = [x[g].mean(0) for g in groups]
        odd = range(1, len(groups), 2)
        best = {i: max(odd, key=lambda j: (cosine(mean[i], mean[j]), -j)) for i in range(0, len(groups), 2)}
        order = sorted(best, key=lambda i: (-cosine(mean[i], mean[best[i]]), i))
        leaving = order[: min(len(groups) - m, len(groups) // 2)]
        for i in leaving:
            groups[best[i]] = groups[i] + groups[best[i]]
        groups = [g for i, g in enumerate(groups) if i not in leaving]
    return groups


def reference(given: Given, m: int) -> tuple[list[int], Array]:
    """Every frame on its own, the first ones with what is left over."""
    t, area = given.grid[0], given.grid[1] * given.grid[2]
    groups: list[list[int]] = []
    if m < t:
        groups = match(given.x, [[i] for i in range(len(given.x))], m)
    else:
        for frame in range(t):
            tokens = [[i] for i in range(frame * area, (frame + 1) * area)]
            groups += match(given.x, tokens, m // t + (frame < m % t))
    return [g[-1] for g in groups], np.stack([given.x[g].mean(0) for g in groups])


# As two frames of two, each frame's even token flows into its odd one, though 0 is like 3. As one frame of four, 0
# flows into 3 first (cosine 1), then 2 into 1.
_X = [[1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [3.0, 0.0]]
ROW = Row(
    reference,
    (
        Case(_X, 2, [1, 3], [[0.5, 0.5], [1.75, 0.5]], grid=(2, 1, 2)),
        Case(_X, 3, [0, 1, 3], [[1.0, 0.0], [0.0, 1.0], [1.75, 0.5]], grid=(2, 1, 2)),
        Case(_X, 3, [1, 2, 3], [[0.0, 1.0], [0.5, 1.0], [2.0, 0.0]], grid=(1, 1, 4)),
        Case(_X, 2, [1, 3], [[0.25, 1.0], [2.0, 0.0]], grid=(1, 1, 4)),
    ),
    conserves=True,
)
